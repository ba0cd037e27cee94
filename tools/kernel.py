"""One notebook in one kernel: run it, end it at its time limit, ask it what it ran on."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError


class ExecutionFailed(Exception):
    """A notebook did not run to its end; the message says where and why in one line."""


def execute(
    notebook: Path, copy: Path, parameters: dict[str, Any], timeout: float, stop: threading.Event
) -> dict[str, Any]:
    """Run ``notebook`` into ``copy``, in its own folder; return what it used or raise `ExecutionFailed`.

    Papermill's own limit is one per cell. Here a watcher kills the kernel's whole process group after ``timeout``
    seconds, or when ``stop`` is set, which also ends a cell that never returns to Python.
    """
    kernel = AsyncKernelManager(kernel_name="python3")
    # A backend chosen for scripts (CI often sets Agg) would leave the pages without figures.
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    # One thread, unless the caller says otherwise: sums then have the same order, and the page the same numbers, on any
    # number of cores; and threads that wait for each other can make these small networks ten times slower.
    environment.setdefault("OMP_NUM_THREADS", "1")
    # No history file to lock, and no warning that the connection, which stays on this machine, is not encrypted.
    arguments = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]
    run_sync(kernel.start_kernel)(cwd=str(notebook.parent), env=environment, extra_arguments=arguments)
    killed = []
    ended = threading.Event()

    def watch() -> None:
        deadline = time.monotonic() + timeout
        while not ended.wait(0.1):
            if stop.is_set() or time.monotonic() > deadline:
                killed.append("interrupted" if stop.is_set() else f"stopped at its time limit of {timeout:g} s")
                with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                    os.killpg(kernel.provisioner.pgid, signal.SIGKILL)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        papermill.execute_notebook(
            str(notebook), str(copy), parameters, kernel_name="python3", progress_bar=False, km=kernel
        )
        return {"peak_memory_mb": peak_memory_mb(kernel.provisioner.pid), **run_sync(ask)(kernel)}
    except PapermillExecutionError as error:
        last_line = f"{error.ename}: {error.evalue}".strip().splitlines()[-1]
        raise ExecutionFailed(f"cell In [{error.exec_count}]: {last_line}") from None
    except (DeadKernelError, RuntimeError) as error:  # a kernel that dies while starting is a RuntimeError
        raise ExecutionFailed(killed[0] if killed else f"the kernel died: {error}") from None
    finally:
        ended.set()
        watcher.join()
        run_sync(kernel.shutdown_kernel)(now=True)


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
