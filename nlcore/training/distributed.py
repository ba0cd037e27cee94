"""Several processes, one run: `torchrun --nproc-per-node 2 -m nlcore train ...`.

Every process holds all data and the same random generators, so all of them decide alike. They share the two things that
cost time: each looks at its part of the images before a division, and trains on its part of every batch, after which
DistributedDataParallel averages the gradients. Batch norm sees the images of one process. Views of different images in
different processes use the same draws.

Without torchrun everything here does nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from nlcore.basics.errors import InputError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0. Process 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def from_torchrun() -> int:
    """The rank that torchrun gave this process, also outside of `joined`; 0 without torchrun.

    An `InputError` where the environment has only a part of what torchrun sets.
    """
    return _place()[0]


def _place() -> tuple[int, int]:
    """The rank of this process and the number of processes, as torchrun has set them; 0 of 1 without torchrun.

    Raises
    ------
    InputError : some of its variables without the others, as a job script may leave them, or numbers that do not fit.
    """
    said = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    rank, size = said.get("RANK", "0"), said.get("WORLD_SIZE", "1")
    fits = rank.isdecimal() and size.isdecimal() and int(rank) < int(size)
    if not fits or (int(size) > 1 and len(said) < len(VARIABLES)):
        words = ", ".join(f"{name}={said[name]}" if name in said else f"no {name}" for name in VARIABLES)
        raise InputError(f"the environment has {words}: start with torchrun, or unset RANK and WORLD_SIZE")
    return int(rank), int(size)


@contextmanager
def joined() -> Iterator[None]:
    """Join the other processes of a torchrun inside the block; an `InputError` as `from_torchrun`."""
    if dist.is_initialized() or _place()[1] == 1:
        yield
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def device(name: str) -> torch.device:
    """The device that a configuration asks for: `auto`, `cpu`, `cuda` or `cuda:1`."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("no CUDA device is available here; choose device=cpu or auto")
    number = name.partition(":")[2]
    if number and int(number) >= torch.cuda.device_count():
        raise InputError(f"there is no device {name} here: {torch.cuda.device_count()} CUDA devices, counted from 0")
    if name == "cuda" and size() > 1:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    return torch.device(name)


def make_current(device: torch.device) -> None:
    """Let a GPU that is named by its number be the one that this process means wherever no number is said."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def wrap(student: torch.nn.Module) -> torch.nn.Module:
    """The student as a training step should call it."""
    if size() == 1:
        return student
    return DistributedDataParallel(student, find_unused_parameters=len(student.heads) > 0)  # MixMatch asks no head


def own(rows: torch.Tensor) -> torch.Tensor:
    """This process's part of a batch: every `size()`-th entry. All parts are equal: what is left over is dropped."""
    return rows[: len(rows) // size() * size()][rank() :: size()]


def mine(parts: int) -> range:
    """Numbers of the parts of some work that this process does."""
    return range(rank(), parts, size())


def add_up(*tensors: torch.Tensor) -> None:
    """Sum over the processes, in place: parts that others have filled in are zero here."""
    if size() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def agree(*tensors: torch.Tensor) -> None:
    """Give every process the tensors of process 0, in place."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def any_process(flag: bool) -> bool:
    """Whether it is true in any process."""
    if size() == 1:
        return flag
    backend = dist.get_backend()
    device = torch.device("cuda", torch.cuda.current_device()) if backend == "nccl" else torch.device("cpu")
    flags = torch.tensor([int(flag)], device=device)
    dist.all_reduce(flags)
    return bool(flags)
