"""What a run runs on: processor and its instructions, cores, memory, versions, and the package's own code."""

import contextlib
import functools
import hashlib
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from nlcore.basics import VERSION
from nlcore.basics.cores import at_most_cores

PRECISIONS = ("auto", "bfloat16", "float32")

# What decides how fast these networks run, as torch calls it; a result names those that its processor has.
INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "neon", "sve", "bf16")
BFLOAT16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}

# Pictures, pages and progress bars: they cannot change a number.
WITHOUT_NUMBERS = ("basics/progress.py", "cli.py", "audit/", "study/plots.py", "study/notebook.py", "study/explorer/")


# --- processor -------------------------------------------------------------------------------------------------------


def capabilities() -> Mapping[str, object]:
    """What torch knows of the processor: `cpu_name`, and instruction sets by name; empty in versions that do not."""
    ask = getattr(torch.cpu, "get_capabilities", dict)
    return ask()


def processor() -> str:
    """The processor's model and its vector instructions: `AMD EPYC (avx2)`."""
    known = capabilities()
    model = str(known.get("cpu_name") or platform.processor() or platform.machine() or "unknown")
    present = [name for name in INSTRUCTIONS if known.get(name)]
    return f"{model} ({', '.join(present)})" if present else model


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 by instructions of its own; where it does not, float32 is faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = capabilities()
    return any(known.get(name) for name in BFLOAT16_INSTRUCTIONS)


def resolved_precision(precision: str, device: torch.device) -> str:
    """`auto` becomes `bfloat16` where `has_bfloat16`, else `float32`; the other two stay what they are."""
    if precision != "auto":
        return precision
    return "bfloat16" if has_bfloat16(device) else "float32"


@contextlib.contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Let torch use so many CPU threads inside the block, at most one a core; 0 changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(at_most_cores(number, "threads") or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- memory ----------------------------------------------------------------------------------------------------------


def reset_peak_memory(device: torch.device) -> None:
    """Begin to measure `peak_memory_mb` anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):  # where there is no such file, the peak is not known either
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float | None:
    """Most memory in use since `reset_peak_memory`, in MB: on a GPU what torch has allocated, else the whole process
    (Linux; elsewhere None)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e6


# --- versions --------------------------------------------------------------------------------------------------------


def environment(device: torch.device, precision: str = "float32") -> dict[str, str]:
    """Versions, code, device and threads of this process, and the precision that a run has used; on a GPU also the
    versions of CUDA and cuDNN."""
    import numpy
    import sklearn

    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else processor()
    libraries = {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())} if on_gpu else {}
    return {
        "nlcore": VERSION,
        "code": code_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "scikit-learn": sklearn.__version__,
        "device": f"{device.type}: {name}",
        "threads": str(torch.get_num_threads()),
        "precision": precision,
        **libraries,
    }


@functools.cache
def code_version() -> str:
    """Twelve hexadecimal digits that change with any source file of the package that can change a number.

    They are those of the first call: code that is edited while it runs is not the code that runs.
    """
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("[!.]*.py")):
        name = path.relative_to(package).as_posix()
        if not name.startswith(WITHOUT_NUMBERS):
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
