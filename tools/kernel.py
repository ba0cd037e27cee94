"""One notebook in one kernel: run it, end it when it has been silent for too long, ask it what it ran on."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import re
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from jupyter_core.utils import run_sync
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from nlcore.basics.progress import HEARTBEAT, REUSE, duration
from tools.warm import Warm

STARTED = time.time()  # of this process, which builds the book


class ExecutionFailed(Exception):
    """A notebook did not run to its end; the message says where and why in one line."""


class Forked(LocalProvisioner):
    """Launches a kernel as a fork of a process that has the libraries loaded."""

    warm: Warm

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Launch a kernel with the arguments of a command, `python -m ipykernel_launcher ...`."""
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        self.process = self.warm.fork(arguments, kwargs["cwd"], kwargs["env"])
        self.pid = self.pgid = self.process.pid
        return self.connection_info


def kernel_environment() -> dict[str, str]:
    """The environment of every kernel."""
    # A backend chosen for scripts (CI often sets Agg) would leave the pages without figures.
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    # One thread, unless the caller says otherwise: sums then have the same order, and the page the same numbers, on any
    # number of cores; and threads that wait for each other can make these small networks ten times slower.
    environment.setdefault("OMP_NUM_THREADS", "1")
    return environment


def execute(
    notebook: Path,
    copy: Path,
    parameters: dict[str, Any],
    silence: float,
    stop: threading.Event,
    variables: dict[str, str],
    warm: Warm | None = None,
) -> dict[str, Any]:
    """Run ``notebook`` into ``copy``, in its own folder, with these environment ``variables`` besides; return what it
    used or raise `ExecutionFailed`. The kernel is a fork of ``warm``, if that is given.

    However long a notebook takes on this machine, it is left to work as long as it shows life: a cell ends, and
    papermill saves the copy; or an epoch of training ends, in the kernel or in a process that it started, and
    `nlcore.basics.progress.beat` touches a file. After ``silence`` seconds without either, or when ``stop`` is set, a
    watcher kills the kernel's whole process group, which also ends a cell that never returns to Python.
    """
    kernel = AsyncKernelManager(kernel_name="python3")
    if warm is not None:
        kernel.provisioner = Forked(kernel_spec=kernel.kernel_spec, parent=kernel)
        kernel.provisioner.warm = warm
    handle, heartbeat = tempfile.mkstemp(prefix="nlcore-heartbeat-")
    os.close(handle)
    reuse = Path(f"{heartbeat}-reuse")
    environment = kernel_environment() | variables | {HEARTBEAT: heartbeat, REUSE: str(reuse)}
    # No history file to lock, and no warning that the connection, which stays on this machine, is not encrypted.
    arguments = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]
    run_sync(kernel.start_kernel)(cwd=str(notebook.parent), env=environment, extra_arguments=arguments)
    killed = []
    ended = threading.Event()

    def watch() -> None:
        signs, since = None, time.monotonic()
        while not ended.wait(0.1):
            if signs != (seen := signs_of_life(copy, heartbeat)):
                signs, since = seen, time.monotonic()
            if stop.is_set() or time.monotonic() - since > silence:
                words = f"stopped after {duration(silence)} in which no cell and no epoch of training ended"
                killed.append("interrupted" if stop.is_set() else words)
                with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                    os.killpg(kernel.provisioner.pgid, signal.SIGKILL)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        papermill.execute_notebook(
            str(notebook),
            str(copy),
            parameters,
            kernel_name="python3",
            progress_bar=False,
            km=kernel,
            # Their own limits, 60 s for a kernel to start and 4 s for an output to arrive, are short on a busy machine.
            start_timeout=round(silence) + 1,
            iopub_timeout=round(silence) + 1,
        )
        memory = peak_memory_mb(kernel.provisioner.pid)
        return {"peak_memory_mb": memory, "reused": read_old_runs(reuse), **run_sync(ask)(kernel)}
    except PapermillExecutionError as error:
        last_line = f"{error.ename}: {error.evalue}".strip().splitlines()[-1]
        raise ExecutionFailed(f"cell In [{error.exec_count}]: {last_line}") from None
    except (DeadKernelError, RuntimeError) as error:  # a kernel that dies while starting is a RuntimeError
        raise ExecutionFailed(killed[0] if killed else f"the kernel died: {error}") from None
    finally:
        ended.set()
        watcher.join()
        run_sync(kernel.shutdown_kernel)(now=True)
        Path(heartbeat).unlink(missing_ok=True)
        reuse.unlink(missing_ok=True)


def read_old_runs(reuse: Path) -> bool:
    """Whether `nlcore.basics.progress.reused` has named a run that is older than this process.

    What chapters of one build share is trained in it once, by the first: that is how long the book takes.
    """
    return reuse.exists() and any(float(time) < STARTED for time in reuse.read_text("utf-8").split())


def signs_of_life(*files: str | Path) -> list[int]:
    """When each of the files was last written or touched, in nanoseconds; 0 for one that is missing."""
    times = []
    for file in files:
        try:
            times.append(os.stat(file).st_mtime_ns)
        except OSError:
            times.append(0)
    return times


def peak_memory_mb(pid: int) -> float | None:
    """The largest resident memory of a live process so far, where the system tells (Linux); 1 MB is 1,000,000 bytes,
    as in `nlcore.basics.machine.peak_memory_mb`."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None
    return round(int(found[1]) * 1024 / 1e6, 1) if found else None


def circumstances() -> dict:
    """What this process has computed with and on; its text is sent to the kernel, so it imports what it needs."""
    import contextlib
    import os
    import platform
    import sys
    from importlib.metadata import PackageNotFoundError, version

    versions = {"Python": platform.python_version()}
    for package in ("torch", "nlcore"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    torch, machine = sys.modules.get("torch"), sys.modules.get("nlcore.basics.machine")
    on_gpu = torch is not None and torch.cuda.is_initialized()
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU ({os.cpu_count()} cores)",
        "versions": versions,
        "code": machine.code_version() if machine else None,
    }


async def ask(kernel: AsyncKernelManager) -> dict[str, Any]:
    """The `circumstances` of a kernel that has run a notebook."""
    client = kernel.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        code, asked = inspect.getsource(circumstances), {"answer": f"{circumstances.__name__}()"}
        reply = await client.execute(code, silent=True, user_expressions=asked, reply=True, timeout=60)
        return ast.literal_eval(reply["content"]["user_expressions"]["answer"]["data"]["text/plain"])
    finally:
        client.stop_channels()
