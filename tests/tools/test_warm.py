"""tools/warm.py: forked kernels are as separate as started ones."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tools import warm
from tools.kernel import ExecutionFailed, execute, kernel_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")


@pytest.fixture(scope="module")
def forks() -> Iterator[warm.Warm]:
    process = warm.Warm(kernel_environment() | {"MARK": "of the process"}, ("wave", "numpy", "no_such_library"))
    yield process
    process.close()


@pytest.fixture
def run(forks: warm.Warm, tmp_path: Path) -> Callable[..., str]:
    """Run the source of one cell in a forked kernel and return what it printed."""

    def run(source: str, silence: float = 60, **variables: str) -> str:
        notebook, copy = tmp_path / "notebook.ipynb", tmp_path / "copy.ipynb"
        nbformat.write(new_notebook(cells=[new_code_cell(source)]), notebook)
        execute(notebook, copy, {}, silence, threading.Event(), variables, forks)
        return "".join(output.text for output in nbformat.read(copy, 4).cells[0].outputs)

    return run


def gone(pid: int) -> bool:
    """Whether a process ends within ten seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_it_has_the_libraries_loaded_and_its_own_folder_environment_and_process_group(run, tmp_path: Path) -> None:
    source = "import os, sys\nprint('wave' in sys.modules, os.getcwd(), os.getpgid(0) == os.getpid())"
    assert run(source) == f"True {tmp_path} True\n"
    assert run("import os\nprint(os.environ['MARK'])", MARK="of the kernel") == "of the kernel\n"
    assert run("import sys\nprint([path for path in sys.path if path.endswith('tools')])") == "[]\n"


def test_kernels_share_neither_variables_nor_chance(run) -> None:
    first, second = (run("import numpy\nprint(numpy.random.rand(), 'left' in globals())\nleft = 1") for _ in "ab")
    assert first != second and first.endswith("False\n") and second.endswith("False\n")


def test_one_that_fails_dies_or_hangs_is_reported_like_any_other_and_the_next_one_works(run) -> None:
    with pytest.raises(ExecutionFailed, match="ZeroDivisionError"):
        run("1 / 0")
    with pytest.raises(ExecutionFailed, match="the kernel died"):
        run("import os\nos._exit(3)")
    with pytest.raises(ExecutionFailed, match="stopped after 4 s in which no cell"):
        run("import time\ntime.sleep(600)", silence=4)
    assert run("print('well')") == "well\n"


def test_a_hanging_one_is_killed_with_all_that_it_started(run, tmp_path: Path) -> None:
    source = "import subprocess, time\nchild = subprocess.Popen(['sleep', '600'])\n"
    source += "open('pid', 'w').write(str(child.pid))\ntime.sleep(600)"
    with pytest.raises(ExecutionFailed):
        run(source, silence=4)
    assert gone(int((tmp_path / "pid").read_text()))


def test_it_ends_with_the_one_who_started_it() -> None:
    source = (
        "import os, tempfile, time\nfrom tools import warm\n"
        "process = warm.Warm(dict(os.environ), ())\n"
        "fork = process.fork(['-f', os.path.join(tempfile.mkdtemp(), 'kernel.json')], '.', dict(os.environ))\n"
        "print(process.process.pid, fork.pid, flush=True)\ntime.sleep(600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    server, kernel = map(int, starter.stdout.readline().split())
    starter.kill()
    starter.wait()
    assert gone(server) and gone(kernel)


def test_when_it_dies_its_kernels_count_as_dead_and_no_other_is_begun(tmp_path: Path) -> None:
    process = warm.Warm(dict(os.environ), ())
    fork = process.fork(["-f", str(tmp_path / "kernel.json")], str(tmp_path), dict(os.environ))
    assert fork.poll() is None
    os.kill(process.process.pid, signal.SIGKILL)
    assert fork.wait() == 1
    with pytest.raises(RuntimeError, match="has died"):
        process.fork([], str(tmp_path), {})


def test_for_a_few_kernels_or_where_a_fork_is_not_safe_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with warm.warm_kernels(warm.ENOUGH - 1, {}) as few:
        assert few is None
    monkeypatch.setattr(sys, "platform", "darwin")
    with warm.warm_kernels(100, {}) as elsewhere:
        assert elsewhere is None


def test_what_is_loaded_exists_and_figures_are_shown_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")  # as CI often does
    notebook, copy = tmp_path / "notebook.ipynb", tmp_path / "copy.ipynb"
    source = f"import sys\nassert sys.modules.keys() >= {set(warm.LIBRARIES)}"
    figure = "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])"
    nbformat.write(new_notebook(cells=[new_code_cell(source), new_code_cell(figure)]), notebook)
    with warm.warm_kernels(warm.ENOUGH, kernel_environment()) as process:
        execute(notebook, copy, {}, 600, threading.Event(), {}, process)
    (output,) = nbformat.read(copy, 4).cells[1].outputs
    assert output.output_type == "display_data" and "image/png" in output.data
