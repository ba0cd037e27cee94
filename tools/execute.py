"""Execute the notebooks with papermill: ``python -m tools.execute --profile smoke``.

A profile (``notebooks/profiles.yml``) gives every notebook its parameters. Executed copies go to
``_build/executed/notebooks``, where the book picks them up; the notebooks themselves are never written to. Each copy
carries a record in ``metadata.nlcore``: what it was made from (``fingerprint``), how, how long it took, and whether it
succeeded. A copy whose fingerprint still holds is not made again.
"""

from __future__ import annotations

import re
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import nbformat
import papermill
import yaml

from nlcore.basics.cores import cores
from nlcore.basics.files import KEPT_EPOCHS
from nlcore.basics.progress import Board, duration
from tools.kernel import ExecutionFailed, execute, kernel_environment
from tools.stamp import read_notebook, stamp
from tools.statistics import stored_times
from tools.warm import Warm, warm_kernels

ROOT = Path(__file__).resolve().parents[1]
JOBS = min(2, cores())  # a notebook takes about 1 GB
SILENCE = 1800  # seconds without a sign of life after which a notebook hangs: far more than any machine needs for one


# --- what to run -----------------------------------------------------------------------------------------------------


def load_profile(root: Path, profile: str) -> dict[str, dict[str, Any]]:
    """Notebook name → ``{"parameters": {...}, "cores": n}`` of one profile."""
    profiles = yaml.safe_load((root / "notebooks" / "profiles.yml").read_text())
    if profile not in profiles:
        raise click.ClickException(f"unknown profile {profile!r} (valid: {', '.join(profiles)})")
    return profiles[profile]


def parse_value(text: str) -> Any:
    """The YAML value of a command-line word. YAML 1.1 takes ``1e-3`` for a string; here it is a number."""
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise click.ClickException(f"not a YAML value: {text!r}") from None


def refuse_unknown_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """Papermill only warns of a parameter that the notebook does not declare, and so hides a typing error."""
    declared = papermill.inspect_notebook(str(notebook))
    if unknown := sorted(parameters.keys() - declared.keys()):
        raise click.ClickException(
            f"{notebook.stem}: unknown parameter {', '.join(unknown)} (valid: {', '.join(declared) or 'none'})"
        )


# --- whether it has to run -------------------------------------------------------------------------------------------


def is_up_to_date(copy: Path, profile: str, fingerprint: str) -> bool:
    """Whether ``copy`` is a complete execution, of this profile, with this fingerprint."""
    if not copy.is_file():
        return False
    record = read_notebook(copy).metadata.get("nlcore", {})
    found = (record.get("status"), record.get("profile"), record.get("fingerprint"))
    return found == ("complete", profile, fingerprint)


# --- running it ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A notebook to execute into ``copy``, at a profile, with parameters; it keeps so many ``cores`` busy."""

    notebook: Path
    copy: Path
    profile: str
    parameters: dict[str, Any]
    cores: int = 1


class Cores:
    """So many cores, lent in the order of asking: who needs several is not overtaken for ever by those who need one."""

    def __init__(self, number: int) -> None:
        self.number = self.free = number
        self.waiting: deque[object] = deque()
        self.changed = threading.Condition()

    @contextmanager
    def lent(self, wanted: int) -> Iterator[None]:
        """Wait for ``wanted`` cores, or for all there are if they are fewer, and hold them inside the block."""
        wanted, ticket = min(wanted, self.number), object()
        with self.changed:
            self.waiting.append(ticket)
            self.changed.wait_for(lambda: self.waiting[0] is ticket and self.free >= wanted)
            self.waiting.popleft()
            self.free -= wanted
            self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self.free += wanted
                self.changed.notify_all()


def bring_up_to_date(
    task: Task, fingerprint: str, silence: float, stop: threading.Event, variables: dict[str, str], warm: Warm | None
) -> str:
    """Execute a notebook whose copy does not hold any more; return how long it took, in words."""
    copy = task.copy
    copy.parent.mkdir(parents=True, exist_ok=True)
    # Papermill saves after every cell. Under another name an interrupted run is not mistaken for a copy.
    partial = copy.with_name(f".{copy.name}")
    partial.unlink(missing_ok=True)
    record = {"status": "failed", "profile": task.profile, "parameters": task.parameters, "fingerprint": fingerprint}
    start = time.perf_counter()
    try:
        record |= execute(task.notebook, partial, task.parameters, silence, stop, variables, warm)
        record["status"] = "complete"
    except ExecutionFailed as failure:
        record["error"] = str(failure)
        raise
    finally:
        record["wall_seconds"] = round(time.perf_counter() - start, 2)
        record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        document = read_notebook(partial if partial.is_file() else task.notebook)
        document.metadata["nlcore"] = record
        nbformat.write(document, partial)
        partial.replace(copy)
    return duration(record["wall_seconds"])


def best_order(tasks: dict[str, Task], names: Iterable[str], profile: str) -> list[str]:
    """The longest first, which leaves no long notebook alone at the end; one that was never timed may be long.

    Those that keep several cores busy come last: at the end they lack for nothing, and find trained what the others
    have trained.
    """
    seconds = expected_seconds(profile)
    return sorted(names, key=lambda name: (tasks[name].cores, -seconds.get(name, float("inf"))))


def expected_seconds(profile: str) -> dict[str, float]:
    """What each notebook took at this profile on the machine that measured it."""
    return {name: time["seconds"] for name, time in stored_times(ROOT).get(profile, {}).items()}


def bring_all_up_to_date(tasks: dict[str, Task], jobs: int, profile: str, silence: float) -> None:
    """Execute the notebooks that are not up to date, on ``jobs`` cores, and say what happens while it happens.

    A thread each is enough: the work is done by the kernels, which are processes of their own. After a failure no
    other notebook is begun; those that run are finished. An interruption, Ctrl-C for example, kills the kernels.
    """
    stop, failed, messages, lender = threading.Event(), threading.Event(), [], Cores(jobs)
    fingerprints = {name: stamp(ROOT, task.notebook, task.parameters) for name, task in tasks.items()}
    stale = [name for name in tasks if not is_up_to_date(tasks[name].copy, profile, fingerprints[name])]
    widths = {name: min(jobs, task.cores) for name, task in tasks.items()}

    def attempt(name: str) -> None:
        with lender.lent(tasks[name].cores):
            if failed.is_set() or stop.is_set():
                return
            board.start(name)
            try:
                words = bring_up_to_date(tasks[name], fingerprints[name], silence, stop, {KEPT_EPOCHS: epochs}, warm)
            except ExecutionFailed as failure:
                failed.set()
                messages.append(f"{name}: {failure}")
                board.end(name, f"{profile}  failed", counts=False)
            except BaseException:
                failed.set()
                raise
            else:
                board.end(name, f"{profile}  {words}")

    with (
        tempfile.TemporaryDirectory(prefix="nlcore-epochs-") as epochs,  # chapters that train the same do it once
        warm_kernels(len(stale), kernel_environment()) as warm,
        Board(stale, "notebooks", expected_seconds(profile), jobs, widths) as board,
        ThreadPoolExecutor(jobs) as pool,
    ):
        for name in tasks:
            if name not in stale:
                board.end(name, f"{profile}  up to date", counts=False)
        futures = [pool.submit(attempt, name) for name in best_order(tasks, stale, profile)]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if messages:
        raise click.ClickException("\n".join(messages))


# --- command line ----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("names", nargs=-1, metavar="[NOTEBOOK]...")
@click.option("--profile", default="standard", show_default=True, help="A profile of notebooks/profiles.yml.")
@click.option("-p", "--parameter", "overrides", nargs=2, multiple=True, metavar="KEY VALUE", help="Set a parameter.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="Default: _build/executed/notebooks.")
@click.option("--jobs", type=click.IntRange(1), default=JOBS, show_default=True, help="Cores to keep busy.")
@click.option(
    "--silence",
    type=click.FloatRange(0, min_open=True),
    default=SILENCE,
    show_default=True,
    help="Seconds without a finished cell or epoch after which a notebook is stopped.",
)
def main(
    names: tuple[str, ...],
    profile: str,
    overrides: tuple[tuple[str, str], ...],
    output_dir: Path | None,
    jobs: int,
    silence: float,
) -> None:
    """Execute NOTEBOOKs (all of the profile by default) that are not up to date."""
    entries = load_profile(ROOT, profile)
    names = tuple(Path(name).stem for name in names) or tuple(entries)
    if unknown := [name for name in names if name not in entries]:
        raise click.ClickException(f"unknown notebook {', '.join(unknown)} (valid: {', '.join(entries)})")

    changes = {key: parse_value(value) for key, value in overrides}
    parameters = {name: (entries[name].get("parameters") or {}) | changes for name in names}
    notebooks = {name: ROOT / "notebooks" / f"{name}.ipynb" for name in names}
    for name in names:  # all of them before the first one runs
        if not notebooks[name].is_file():
            raise click.ClickException(f"profiles.yml names {name}, but there is no notebooks/{name}.ipynb")
        refuse_unknown_parameters(notebooks[name], parameters[name])

    folder = (output_dir or ROOT / "_build" / "executed" / "notebooks").expanduser().resolve()
    tasks = {
        name: Task(notebooks[name], folder / f"{name}.ipynb", profile, parameters[name], entries[name].get("cores", 1))
        for name in names
    }
    bring_all_up_to_date(tasks, jobs, profile, silence)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end, as CI does: no kernel is left behind
    main()
