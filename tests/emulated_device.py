"""An accelerator made of the CPU: tensors that say they live on `accel:0`, and refuse to meet those of the CPU.

What a program does wrong on a GPU, and nobody sees without one, is an error here, with the line of nlcore: a tensor of
the CPU among those of the device, a generator of the other one, numpy of a device's tensor. And each time that a GPU
would make the host wait, or the host would send it numbers, is written down.

Torch lets Python be the backend of its spare device, PrivateUse1. A `DeviceTensor` is a wrapper whose inner tensor is
an ordinary one; a dispatch mode runs every operation on the inner ones. Nothing is emulated of CUDA's own kernels, of
bfloat16, cuDNN or streams. The backend stays for the rest of the process, and torch's autograd must not have run in it
before: use a process of its own.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "accel"
CPU = torch.device("cpu")

# What cannot be answered, or cannot have a shape, before the device has computed it.
WAITING = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount", "histc"}
WAITING |= {"_unique2", "unique_dim", "unique_consecutive", "repeat_interleave", "_linalg_eigh", "_linalg_svd"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
NO_SCALARS = {"stack", "gather", "scatter", "scatter_add", "scatter_reduce", "index_add"}  # of the CPU, not even one


class MeetingError(RuntimeError):
    """Something of the CPU and something of the device were used together."""


class Event(NamedTuple):
    """The host waited for the device once, or sent it something: what for, and at which line of nlcore."""

    what: str
    line: str


class Log:
    """What has happened since `clear`: `waits` and `sent`, both lists of `Event`."""

    def __init__(self):
        self.waits: list[Event] = []
        self.sent: list[Event] = []

    def clear(self) -> None:
        self.waits.clear()
        self.sent.clear()


log, _kept = Log(), []


def available() -> bool:
    """Whether this torch can have a backend written in Python."""
    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


def line_of_nlcore() -> str:
    """`file.py:LINE (function)` of the innermost caller in the package, or `elsewhere`."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename.replace("\\", "/")
        if "/nlcore/" in path and "/tests/" not in path and "site-packages" not in path:
            return f"{path.rpartition('/')[2]}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back
    return "elsewhere"


def waits(what: str) -> None:
    log.waits.append(Event(what, line_of_nlcore()))


def refuse(what: str) -> None:
    raise MeetingError(f"{what}, at {line_of_nlcore()}")


# -- the device


RealGenerator = torch.Generator


class _DeviceGenerator(RealGenerator):
    """A generator of the CPU that says it is one of the device."""

    @property
    def device(self) -> torch.device:
        return torch.device(NAME, 0)


class _GeneratorType(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, RealGenerator)


class Generator(metaclass=_GeneratorType):
    """Stands in for `torch.Generator`, which knows no backend in Python."""

    def __new__(cls, device="cpu") -> RealGenerator:
        return _DeviceGenerator() if torch.device(device).type == NAME else RealGenerator(device)


class Backend(getattr(backend_registration, "_DummyBackendModule", object)):
    """What torch asks of `torch.accel`; `chance` is the device's global generator."""

    chance = RealGenerator()

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float32]

    def get_rng_state(self, device=None) -> torch.Tensor:
        return self.chance.get_state()

    def set_rng_state(self, state: torch.Tensor, device=None) -> None:
        self.chance.set_state(state)

    def manual_seed_all(self, seed: int) -> None:
        self.chance.manual_seed(seed)


class DeviceTensor(torch.Tensor):
    """A tensor of the device around one of the CPU, `inner`."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "DeviceTensor":
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        kind = {"dtype": inner.dtype, "layout": inner.layout, "device": torch.device(NAME, 0)}
        tensor = torch.Tensor._make_wrapper_subclass(cls, inner.size(), **layout, **kind)
        tensor.inner = inner
        return tensor

    def __repr__(self, **_) -> str:
        return f"DeviceTensor({self.inner!r})"

    def tolist(self):
        waits("tolist")
        return self.inner.tolist()

    def numpy(self, *_, **__):
        raise TypeError(f"numpy cannot see a tensor of {NAME}, at {line_of_nlcore()}")

    __array__ = numpy

    def __reduce_ex__(self, protocol):
        waits("save")
        return self.inner.detach().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict):
        if id(self) not in memo:
            copied = DeviceTensor(self.inner.detach().clone())
            is_parameter = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = torch.nn.Parameter(copied, self.requires_grad) if is_parameter else copied
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


# -- its operations


def is_ours(value: object) -> bool:
    return type(value) is DeviceTensor


def changed(change, values):
    """The same nested values with every tensor changed. torch.utils._pytree does it in twice the time of all else."""
    if isinstance(values, torch.Tensor):
        return change(values)
    if type(values) is dict:
        return {name: changed(change, value) for name, value in values.items()}
    return type(values)(changed(change, value) for value in values) if type(values) in (list, tuple) else values


def unwrapped(values):
    return changed(lambda tensor: tensor.inner if is_ours(tensor) else tensor, values)


def wrapped(values):
    return changed(lambda tensor: tensor if is_ours(tensor) else DeviceTensor(tensor), values)


def compute(func, args: tuple, kwargs: dict):
    """Run an operation of torch as the device would, or refuse it."""
    if func is torch.ops.prim.device.default:
        return torch.device(NAME, 0)
    name = func.overloadpacket.__name__
    tensors = []
    changed(tensors.append, (args, kwargs))
    ours = any(map(is_ours, tensors))
    asked = None if kwargs.get("device") is None else torch.device(kwargs["device"]).type
    if not ours and asked != NAME:
        return func(*args, **kwargs)
    if name in ("_to_copy", "copy_"):
        return copied(func, name, args, kwargs, asked)
    if ours:
        check_meeting(name, args, tensors)
        check_waiting(name, args)
    kwargs = {key: value for key, value in kwargs.items() if key != "pin_memory"}
    result = func(*unwrapped(args), **unwrapped(kwargs) | ({"device": CPU} if asked == NAME else {}))
    if any(value.alias_info is not None and value.alias_info.is_write for value in func._schema.returns):
        return kwargs.get("out", args[0])  # in place: the same object
    return wrapped(result) if asked in (None, NAME) else result


def copied(func, name: str, args: tuple, kwargs: dict, asked: str | None):
    """Copies may cross from one to the other: to the CPU the host waits for them."""
    if name == "copy_":
        target, source = is_ours(args[0]), is_ours(args[1])
        func(*unwrapped(args), **kwargs)
        result = args[0]
    else:
        source = is_ours(args[0])
        target = source if asked is None else asked == NAME
        result = func(*unwrapped(args), **{k: v for k, v in kwargs.items() if k not in ("device", "non_blocking")})
        result = wrapped(result) if target else result
    if source and not target:
        waits("copy to the CPU")
    if target and not source:
        log.sent.append(Event("copy to the device", line_of_nlcore()))
    return result


def check_meeting(name: str, args: tuple, tensors: list[torch.Tensor]) -> None:
    """A scalar of the CPU may go along, and a tensor of the device may be indexed by those of the CPU; nothing else."""
    if name in INDEXING and is_ours(args[0]):
        others = [value for value in args[2:] if isinstance(value, torch.Tensor) and not is_ours(value)]
        if any(not is_ours(index) for index in args[1] if index is not None):
            waits("indices of the CPU")
    else:
        others = [tensor for tensor in tensors if not is_ours(tensor)]
    smallest = 0 if name in NO_SCALARS else 1
    shapes = [tuple(tensor.shape) for tensor in others if tensor.ndim >= smallest]
    if shapes:
        refuse(f"{name}: {shapes} of the CPU among tensors of {NAME}")


def check_waiting(name: str, args: tuple) -> None:
    """Note what the host would have to wait for; a mask is turned into numbers first."""
    masked = name in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1])
    one_number = masked and len(args) > 2 and not is_ours(args[2]) and args[2].numel() == 1  # filled in, not counted
    if name in WAITING or (masked and not one_number):
        waits(f"{name} by a mask" if masked else name)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Calls as they are written: numbers that become tensors, and whose generator is drawn from."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"]).type
        if func in (torch.tensor, torch.as_tensor) and asked == NAME:
            log.sent.append(Event("numbers", line_of_nlcore()))
            return wrapped(func(*args, **kwargs | {"device": CPU}))
        generator = kwargs.get("generator")
        if isinstance(generator, RealGenerator):
            filled = args and isinstance(args[0], torch.Tensor)
            drawn_on = asked or (args[0].device.type if filled else "cpu")
            if drawn_on != generator.device.type:
                refuse(f"{func.__name__}: a generator of {generator.device} draws on {drawn_on}")
        return func(*args, **kwargs)


def install() -> torch.device:
    """Make the device, for the rest of this process; its first use of torch."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, Backend())
    autocast = torch.library.Library("_", "IMPL")
    autocast.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # bfloat16 may be asked for
    _kept.append(autocast)  # it ends with its object
    return torch.device(NAME, 0)


@contextmanager
def emulated() -> Iterator[Log]:
    """Inside the block the installed device computes, and what happens is in the log."""
    log.clear()
    with mock.patch.object(torch, "Generator", Generator), _Functions(), _Operations():
        yield log
