"""tools/execute.py on tiny notebooks: what is refused, what is executed again, what a failure leaves behind."""

import json
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import nbformat
import pytest
import yaml
from click.testing import CliRunner, Result
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import execute

ROOT = Path(__file__).resolve().parents[2]
KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}


class Project:
    """A root folder with a notebook, ``one``, and perhaps others, run through the command line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "notebooks").mkdir()
        (root / "nlcore").mkdir()
        self.write("print(number)")
        self.name("one")

    def write(self, *code: str, name: str = "one") -> None:
        """A notebook with its parameters and these cells."""
        parameters = new_code_cell("number: int = 1  # what is printed", metadata={"tags": ["parameters"]})
        cells = [parameters, *(new_code_cell(cell) for cell in code)]
        notebook = new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC})
        nbformat.write(notebook, self.root / "notebooks" / f"{name}.ipynb")

    def name(self, *names: str, **cores: int) -> None:
        """Write the profile `smoke`, with these notebooks; some of them keep several cores busy."""
        entries = {name: {"parameters": {"number": 2}} for name in names}
        for name, number in cores.items():
            entries[name]["cores"] = number
        (self.root / "notebooks" / "profiles.yml").write_text(yaml.safe_dump({"smoke": entries}))

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(execute.main, ["--profile", "smoke", *arguments])

    @property
    def copy(self) -> Path:
        return self.root / "_build" / "executed" / "notebooks" / "one.ipynb"

    @property
    def record(self) -> dict:
        return nbformat.read(self.copy, as_version=4).metadata["nlcore"]

    @property
    def printed(self) -> str:
        return nbformat.read(self.copy, as_version=4).cells[-1].outputs[0].text.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    return Project(tmp_path)


@pytest.fixture
def never_executes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals come before any kernel is started."""

    def fail(*_: object) -> None:
        raise AssertionError("a notebook was executed")

    monkeypatch.setattr(execute, "execute", fail)


@pytest.mark.usefixtures("never_executes")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "numbr", "3"], "one: unknown parameter numbr (valid: number)"),
        (["--profile", "huge"], "unknown profile 'huge' (valid: smoke)"),
        (["two"], "unknown notebook two (valid: one)"),
    ],
)
def test_unknown_name_is_refused_with_the_valid_ones(project: Project, arguments: list[str], message: str) -> None:
    result = project.run(*arguments)
    assert result.exit_code != 0
    assert result.output == f"Error: {message}\n"


def test_profile_parameter_reaches_the_notebook(project: Project) -> None:
    result = project.run()
    assert re.fullmatch(r"one  started\none  smoke  [\w ]+ s\n", result.output)
    assert project.printed == "2"


def test_record_says_how_the_copy_was_made(project: Project) -> None:
    project.run()
    record = project.record
    assert (record["status"], record["profile"], record["parameters"]) == ("complete", "smoke", {"number": 2})
    assert record["wall_seconds"] > 0
    assert record["peak_memory_mb"] is None or record["peak_memory_mb"] > 1
    assert re.fullmatch(r"CPU \(\d+ cores\)", record["device"])  # it does without torch, on whatever machine
    assert record["versions"]["Python"] == platform.python_version()
    assert {"torch", "nlcore"} <= record["versions"].keys()
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(record["finished"]) < timedelta(minutes=5)


def test_second_run_is_skipped(project: Project) -> None:
    project.run()
    before = project.copy.read_bytes()
    assert project.run().output == "one  smoke  up to date\n"
    assert project.copy.read_bytes() == before


def add_code(project: Project) -> None:
    (project.root / "nlcore" / "new.py").write_text("x = 1\n")


def add_result(project: Project) -> None:
    (project.root / "results" / "digits").mkdir(parents=True)
    (project.root / "results" / "digits" / "result.json").write_text("{}")


def change_alternative_text(project: Project) -> None:
    path = project.root / "notebooks" / "one.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata["mystnb"] = {"image": {"alt": "a histogram"}}
    nbformat.write(notebook, path)


def change_prose(project: Project) -> None:
    path = project.root / "notebooks" / "one.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(new_markdown_cell("More."))
    nbformat.write(notebook, path)


@pytest.mark.parametrize("change", [add_code, add_result, change_alternative_text, change_prose])
def test_a_changed_input_asks_for_another_execution(
    project: Project, monkeypatch: pytest.MonkeyPatch, change: Callable[[Project], None]
) -> None:
    executions = []
    monkeypatch.setattr(execute, "execute", lambda *arguments: executions.append(arguments) or {})
    project.run()
    project.run()
    assert len(executions) == 1
    change(project)
    project.run()
    assert len(executions) == 2


def test_changed_source_is_executed(project: Project) -> None:
    project.run()
    project.write("print(number + 10)")
    project.run()
    assert project.printed == "12"


def test_changed_parameter_is_executed(project: Project) -> None:
    project.run()
    project.run("-p", "number", "7")
    assert project.printed == "7"


@pytest.mark.parametrize(("word", "value"), [("1e-3", 1e-3), ("3", 3), ("[0, 1]", [0, 1]), ("true", True), ("a", "a")])
def test_command_line_values_have_types(word: str, value: object) -> None:
    parsed = execute.parse_value(word)
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_failing_cell_is_named_and_its_copy_kept(project: Project) -> None:
    project.write("print('so far')\nraise ValueError('first line\\nlast line')")
    result = project.run()
    assert result.exit_code != 0
    assert result.output == "one  started\none  smoke  failed\nError: one: cell In [3]: last line\n"
    assert project.record["status"] == "failed"
    assert "so far" in project.copy.read_text()


def test_a_failed_copy_is_not_up_to_date(project: Project) -> None:
    project.write("1 / 0")
    project.run()
    assert "ZeroDivisionError" in project.run().output


def test_a_notebook_that_hangs_is_stopped_after_the_limit_on_silence_and_named(project: Project) -> None:
    project.write("import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)")
    result = project.run("--silence", "12")
    assert result.exit_code != 0
    words = "stopped after 12 s in which no cell and no epoch of training ended"
    assert result.output == f"one  started\none  smoke  failed\nError: one: {words}\n"
    assert project.record["status"] == "failed"
    kernel = (project.root / "notebooks" / "pid").read_text()
    assert not Path(f"/proc/{kernel}/cmdline").exists()


CELLS = ("import time; time.sleep(5)",) * 3
EPOCHS = """
import time
from nlcore.basics.progress import beat
for _ in range(30):
    time.sleep(0.5)
    beat()
"""
ELSEWHERE = f"""
import subprocess, sys
run = subprocess.run([sys.executable, "-c", {EPOCHS!r}])
"""


@pytest.mark.parametrize("cells", [CELLS, (EPOCHS,), (ELSEWHERE,)], ids=["cells", "epochs", "epochs elsewhere"])
def test_a_notebook_that_shows_life_may_take_longer_than_the_limit(project: Project, cells: tuple[str, ...]) -> None:
    project.write(*cells)
    result = project.run("--silence", "12")
    assert result.exit_code == 0, result.output
    assert project.record["wall_seconds"] > 12


WAIT = """
import pathlib, time
pathlib.Path("{mine}").touch()
while not pathlib.Path("{other}").exists():
    time.sleep(0.05)
"""


def test_two_notebooks_run_at_the_same_time(project: Project) -> None:
    project.name("one", "two")
    project.write(WAIT.format(mine="a", other="b"), name="one")
    project.write(WAIT.format(mine="b", other="a"), name="two")
    result = project.run("--jobs", "2")
    assert result.exit_code == 0, result.output
    ended = [line.split()[:2] for line in sorted(result.output.splitlines()) if "started" not in line]
    assert ended == [["one", "smoke"], ["two", "smoke"]]


def test_a_notebook_that_keeps_two_cores_busy_runs_beside_no_other(project: Project) -> None:
    for name in ("one", "two", "third"):
        note = f"import time\nprint('{name}', file=open('notes', 'a'), flush=True)\ntime.sleep(1)"
        project.write(note, note, name=name)
    project.name("one", "two", "third", two=2)
    (project.root / "book").mkdir()
    times = {"smoke": {"one": {"seconds": 3}, "two": {"seconds": 2}, "third": {"seconds": 1}}}
    (project.root / "book" / "run_times.json").write_text(json.dumps(times))
    assert project.run("--jobs", "2").exit_code == 0
    order = [line.split()[0] for line in (project.root / "notebooks" / "notes").read_text().splitlines()]
    first = order.index("two")
    assert order[first : first + 2] == ["two", "two"] and sorted(order) == [
        "one",
        "one",
        "third",
        "third",
        "two",
        "two",
    ]


def test_cores_are_lent_in_the_order_of_asking_and_never_more_than_there_are() -> None:
    lender, begun, taken, most = execute.Cores(2), [], [0], []

    def work(name: str, wanted: int, takes: int) -> None:
        with lender.lent(wanted):
            begun.append(name)
            taken[0] += takes
            most.append(taken[0])
            time.sleep(0.2)
            taken[0] -= takes

    with ThreadPoolExecutor(4) as pool:
        for name, wanted, takes in (("a", 1, 1), ("needs both", 2, 2), ("b", 1, 1), ("needs five", 5, 2)):
            pool.submit(work, name, wanted, takes)
            time.sleep(0.05)
    assert begun == ["a", "needs both", "b", "needs five"]  # "b" could have begun beside "a"
    assert max(most) == 2 and lender.free == 2 and not lender.waiting


def test_longest_notebook_begins_first_and_one_that_fills_the_cores_last(project: Project) -> None:
    (project.root / "book").mkdir()
    times = {"smoke": {"short": {"seconds": 1}, "long": {"seconds": 9}, "grid": {"seconds": 99}}}
    (project.root / "book" / "run_times.json").write_text(json.dumps(times))
    task = execute.Task(Path("notebook"), Path("copy"), "smoke", {})
    tasks = dict.fromkeys(("short", "long", "new", "a", "b"), task) | {"grid": replace(task, cores=2)}
    assert execute.best_order(tasks, ["grid", "short", "long", "new"], "smoke") == ["new", "long", "short", "grid"]
    assert execute.best_order(tasks, ["b", "a"], "standard") == ["b", "a"]


def test_after_a_failure_the_others_that_run_are_finished_and_none_is_begun(project: Project) -> None:
    project.name("one", "other", "third")
    project.write(WAIT.format(mine="a", other="b") + "time.sleep(2)", name="one")
    project.write(WAIT.format(mine="b", other="a") + "1 / 0", name="other")
    project.write("print('begun')", name="third")
    result = project.run("--jobs", "2")
    assert result.exit_code == 1
    assert result.output.endswith("Error: other: cell In [3]: ZeroDivisionError: division by zero\n")
    assert project.record["status"] == "complete"
    assert not project.copy.with_name("third.ipynb").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_kernel_behind(project: Project, number: int) -> None:
    project.name("one", "two")
    for name in ("one", "two"):
        project.write(f"import os, time\nopen('{name}.pid', 'w').write(str(os.getpid()))\ntime.sleep(600)", name=name)
    shutil.copytree(ROOT / "tools", project.root / "tools")  # its root is the folder that it lies in
    command = [sys.executable, "-m", "tools.execute", "--profile", "smoke", "--jobs", "2"]
    # A job in the background, as these tests may be, ignores Ctrl-C, and so do its children.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, cwd=project.root, preexec_fn=listen, **pipes)
    files = [project.root / "notebooks" / f"{name}.pid" for name in ("one", "two")]
    while not all(file.is_file() and file.read_text() for file in files):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 1
    assert output.endswith("Aborted!\n")
    assert not any(Path(f"/proc/{file.read_text()}/cmdline").exists() for file in files)
