"""Kernels that begin with the libraries loaded which every notebook loads.

Importing torch, scikit-learn and the like takes longer than many a notebook. So one process imports them once, and each
kernel is a fork of it: a process of its own, with its own folder, environment and output. The process is started by
`Warm`, takes orders on its standard input, a line of JSON each, and answers on its standard output. It ends with the
one who started it, and its kernels with it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

# torch's optimisers import `torch._dynamo` when the first one is made.
LIBRARIES = ("torch", "torch._dynamo", "sklearn.datasets", "sklearn.metrics", "sklearn.model_selection", "pandas")
LIBRARIES += ("matplotlib.pyplot", "seaborn", "ipykernel.kernelapp", "IPython.display", "myst_nb.ext.glue")
ENOUGH = 4  # kernels from which it is worth while


class Warm:
    """A process that has the libraries loaded and forks a kernel whenever it is asked to."""

    def __init__(self, environment: dict[str, str], libraries: Iterable[str] = LIBRARIES) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, *libraries],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C is for the one who started it
        )
        self.ended: dict[int, int] = {}
        self.begun: list[int] = []
        self.changed, self.ordering = threading.Condition(), threading.Lock()
        self.alive = True
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            answer = json.loads(line)
            with self.changed:
                if "code" in answer:
                    self.ended[answer["pid"]] = answer["code"]
                else:
                    self.begun.append(answer["pid"])
                self.changed.notify_all()
        with self.changed:
            self.alive = False
            self.changed.notify_all()

    def fork(self, arguments: list[str], folder: str, environment: dict[str, str]) -> Fork:
        """A kernel with these command-line arguments; a `RuntimeError` if the process has died."""
        order = json.dumps({"arguments": arguments, "folder": folder, "environment": environment})
        with self.ordering, self.changed:  # one order at a time: the next answer is its own
            with contextlib.suppress(OSError):
                self.process.stdin.write(order + "\n")
                self.process.stdin.flush()
            self.changed.wait_for(lambda: self.begun or not self.alive)
            if not self.begun:
                raise RuntimeError("the process that forks kernels has died")
            return Fork(self, self.begun.pop())

    def close(self) -> None:
        """End it, and whatever it has forked."""
        self.process.stdin.close()
        self.process.wait()


class Fork:
    """A forked kernel, with what `jupyter_client` uses of `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, warm: Warm, pid: int) -> None:
        self.warm, self.pid = warm, pid

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self.warm.ended.get(self.pid, None if self.warm.alive else 1)

    def wait(self) -> int:
        """Wait for its end."""
        with self.warm.changed:
            self.warm.changed.wait_for(lambda: self.poll() is not None)
        return self.poll()

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


@contextlib.contextmanager
def warm_kernels(number: int, environment: dict[str, str]) -> Iterator[Warm | None]:
    """Forks for so many kernels; None where a fork is not safe (not on Linux), or for too few to be worth it."""
    if sys.platform != "linux" or number < ENOUGH:
        yield None
        return
    warm = Warm(environment)
    try:
        yield warm
    finally:
        warm.close()


def serve(libraries: Iterable[str]) -> None:
    """Import the libraries, then fork on demand until the input ends."""
    del sys.path[0]  # the folder of this file, which a kernel knows nothing of
    for name in libraries:
        with contextlib.suppress(ImportError):  # the notebook that needs it will say so
            importlib.import_module(name)
    running = set()
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], 0.1)
        while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            running.discard(ended[0])
            print(json.dumps({"pid": ended[0], "code": os.waitstatus_to_exitcode(ended[1])}), flush=True)
        if not ready:
            continue
        order = sys.stdin.readline()
        if not order:
            break
        if not (pid := os.fork()):
            become_kernel(**json.loads(order))
        with contextlib.suppress(OSError):  # the kernel does it too: who comes first is chance
            os.setpgid(pid, pid)
        running.add(pid)
        print(json.dumps({"pid": pid}), flush=True)
    for pid in running:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


def become_kernel(arguments: list[str], folder: str, environment: dict[str, Any]) -> None:
    """Be the kernel that `python -m ipykernel_launcher` would be; does not return."""
    import numpy
    from ipykernel import kernelapp

    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # a process group of its own, so that it can be killed with all that it starts
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # the pipe of the answers is not for the kernel
    numpy.random.seed()  # else all kernels would draw the same
    sys.argv[1:] = [*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"]  # it ends when its parent has gone
    try:
        kernelapp.launch_new_instance()
    finally:
        os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1:])
