"""Many runs: a grid of configurations and a stored result for each.

A cell of the grid is one run. Its result has a file of its own, so a grid that was interrupted goes on where it
stopped, and a grid that grows by one seed runs only what is new.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from nlcore.basics.cores import at_most_cores
from nlcore.basics.errors import InputError, NotBegun, Paused, choose, first_line
from nlcore.basics.files import check_writable, save_file, user_path
from nlcore.basics.machine import code_version
from nlcore.basics.progress import Board, duration, reused
from nlcore.data.datasets import DATASETS
from nlcore.data.own import PREFIX
from nlcore.noise.corrupt import label_file
from nlcore.results.cells import by_name, cell_name
from nlcore.results.tables import read_results
from nlcore.results.unfinished import PARTIAL, History, expected_seconds, in_order
from nlcore.results.workers import tell, workers_of
from nlcore.training import checkpoint, distributed
from nlcore.training.config import TrainConfig
from nlcore.training.engine import Epoch
from nlcore.training.origins import changed_origins
from nlcore.training.result import is_current, stored_result
from nlcore.training.run import train

log = logging.getLogger(__name__)

UNFINISHED = ".unfinished"  # checkpoints and locks of the cells that are running


def is_stored(config: TrainConfig, folder: str | Path, any_code: bool = False) -> bool:
    """Whether the folder holds the result of this configuration, made by the code as it is now or by `any_code`, and of
    the files that it names as they are now."""
    values = stored_result(user_path(folder) / f"{cell_name(config)}.json", config)
    return values is not None and (any_code or is_current(values)) and not changed_origins(values, config)


def run_cell(
    config: TrainConfig,
    folder: str | Path,
    any_code: bool = False,
    wait: bool = True,
    deadline: float | None = None,
    whole: bool = False,
    jobs: int = 1,
) -> str:
    """Run one cell unless `is_stored`. Its result appears whole or not at all.

    Several processes may ask for the same cell: one runs it. A run that was stopped goes on from its last checkpoint.

    Parameters
    ----------
    any_code : see `is_stored`.
    wait : for another process that is running the cell.
    deadline : `time.time()` at which to stop; the run goes on with the next call.
    whole : do not begin what cannot end by the deadline, see `expected_seconds`. What has a checkpoint goes on anyway.
    jobs : cells that share the machine; the result says it, because its seconds mean nothing without.

    Returns
    -------
    "ran"; "kept", it was stored; or "elsewhere", another process is running it and this one did not wait.

    Raises
    ------
    Paused : the deadline came first; `NotBegun`, it would have.
    """
    folder, name = user_path(folder), cell_name(config)
    path, unfinished = folder / f"{name}.json", folder / UNFINISHED
    if is_stored(config, folder, any_code):
        return "kept"
    left = _time_left(config, folder, deadline, whole)  # before anything is written
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        lock = FileLock(unfinished / f"{name}.lock").acquire(timeout=(-1 if left is None else left) if wait else 0)
    except Timeout:
        if wait:
            raise NotBegun("no time left: another process has been running it all the while") from None
        return "elsewhere"
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}") from error
    with lock:
        if is_stored(config, folder, any_code):  # in the meantime
            return "kept"
        if path.exists():
            log.warning("%s is damaged, or of another configuration, other files or other code: run again", path)
        left = _time_left(config, folder, deadline, whole)
        tell(name, "")
        history, checkpoints = History(folder / f"{name}{PARTIAL}", config), _checkpoints(config, folder)

        def advanced(epoch: Epoch) -> None:
            history.add(epoch.row)
            tell(name, f"epoch {epoch.row['epoch']} of {epoch.state.config.epochs}")

        try:
            result = train(config, on_epoch=advanced, folder=checkpoints, time_budget=left)
        except BaseException:
            history.write()
            raise
        save_file(path, replace(result, environment=result.environment | {"jobs": str(jobs)}).to_json())
        history.forget()
        shutil.rmtree(checkpoints, ignore_errors=True)
    return "ran"


def _checkpoints(config: TrainConfig, folder: Path) -> Path:
    """Where a cell keeps its checkpoints. Those of other code would be refused, so each has a folder of its own."""
    return folder / UNFINISHED / f"{cell_name(config)}_{code_version()}"


def _has_checkpoint(config: TrainConfig, folder: Path) -> bool:
    return (_checkpoints(config, folder) / checkpoint.NAME).exists()


def _time_left(config: TrainConfig, folder: Path, deadline: float | None, whole: bool) -> float | None:
    """Seconds until the deadline, None without one; `NotBegun` if they are not enough, see `run_cell`."""
    if deadline is None:
        return None
    left = deadline - time.time()
    if left <= 0:
        raise NotBegun("no time left to begin")
    if whole and not _has_checkpoint(config, folder):
        needed = expected_seconds(config, folder)
        if needed is not None and needed > left:
            raise NotBegun(f"no time left to begin: it takes about {duration(needed)}")
    return left


def run_grid(configs: Iterable[TrainConfig], folder: str | Path, workers: int = 1) -> pd.DataFrame:
    """Run the cells that are not stored yet, several at a time, and read all of them.

    A script that calls this needs the usual `if __name__ == "__main__":`, because the workers are fresh processes.
    They share the cores: the number of threads, hence of workers, can move the last digits of a result.

    Parameters
    ----------
    configs : the cells; the same one twice runs once.
    folder : of the stored results, made if need be.
    workers : processes.

    Returns
    -------
    One row a cell, in the order of `configs`, with the columns of `nlcore.results.tables.read_results`.

    Raises
    ------
    InputError, RuntimeError : cells that failed, by name and with the reason of each; all others have run and are kept.
        It is an InputError if each of them is.
    """
    cells, folder = by_name(configs), user_path(folder)
    failed = [outcome for outcome in run_all(cells, folder, workers) if outcome.error]
    if failed:
        kind = InputError if all(isinstance(outcome.error, InputError) for outcome in failed) else RuntimeError
        reasons = "; ".join(f"{outcome.name}: {first_line(outcome.error)}" for outcome in failed)
        raise kind(f"{len(failed)} of {len(cells)} cells failed: {reasons}")
    frame = read_results(folder)
    own = frame.set_index(frame["path"].map(lambda path: str(Path(path).relative_to(folder))))
    return own.loc[[f"{name}.json" for name in cells]].reset_index(drop=True)


def check_cell(name: str, config: TrainConfig) -> None:
    """Raise an `InputError` for what a run would find out only when it begins: names, numbers, device, label file."""
    try:
        config = config.resolved()
        if not config.dataset.startswith(PREFIX):  # of a path, `resolved` has looked whether it is there
            choose("dataset", config.dataset, DATASETS)
        distributed.device(config.device)
        label_file(config.noise, config.dataset, config.noise_options)
    except InputError as error:
        raise InputError(f"cell {name} cannot be run, so none was started: {error}") from error


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: "kept" or "ran"; with an error "paused", "not begun" for lack of time, or "failed"."""

    name: str
    status: str
    error: Exception | None = None

    @classmethod
    def of(cls, name: str, error: BaseException) -> "Outcome":
        """That of a cell that ended with an error."""
        kinds = {NotBegun: "not begun", Paused: "paused"}
        return cls(name, next((word for kind, word in kinds.items() if isinstance(error, kind)), "failed"), error)


def run_all(
    cells: dict[str, TrainConfig],
    folder: str | Path,
    workers: int,
    any_code: bool = False,
    deadline: float | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run the cells that are not stored, several at a time; each one's end is told to `on_outcome`.

    A cell that another process is running is left for the end, where this one waits for it. With a deadline, the cells
    that fit come first, see `in_order`, and what could not end is not begun; only at the very start a cell is begun
    whatever it takes, or one that is longer than every call would never run. Outcomes come in the order of the cells.

    Raises
    ------
    InputError : a cell that is missing cannot be run, for what can be seen before any of them starts; a folder that
        cannot be written.
    """
    if workers < 1:
        raise InputError(f"runs at the same time must be at least 1, not {workers}")
    outcomes: dict[str, Outcome] = {}
    folder = user_path(folder)

    def ended(outcome: Outcome) -> None:
        outcomes[outcome.name] = outcome
        if on_outcome:
            on_outcome(outcome)

    missing = []
    for name, config in cells.items():
        if is_stored(config, folder, any_code):
            reused(folder / f"{name}.json")
            ended(Outcome(name, "kept"))
        else:
            missing.append(name)
    for name in missing:
        check_cell(name, cells[name])
    if missing:
        check_writable(folder)
        workers = min(at_most_cores(workers, "runs at a time"), len(missing))
        if deadline is not None:
            expected = {name: expected_seconds(cells[name], folder) for name in missing}
            begun = {name for name in missing if _has_checkpoint(cells[name], folder)}
            missing = in_order(missing, expected, begun, workers, deadline - time.time())
        at_once = missing[:workers]
        with Board(missing, "runs", at_a_time=workers) as board, workers_of(board, workers) as pool:
            for wait in (False, True):
                asked = [name for name in missing if name not in outcomes]
                options = any_code, wait, deadline
                futures = {
                    pool.submit(run_cell, cells[n], folder, *options, n not in at_once, workers): n for n in asked
                }
                for future in as_completed(futures):
                    error, name = future.exception(), futures[future]
                    if error or future.result() != "elsewhere":
                        outcome = Outcome.of(name, error) if error else Outcome(name, future.result())
                        # Who listens writes a line of its own.
                        board.end(name, "" if on_outcome else outcome.status, counts=outcome.status == "ran")
                        ended(outcome)
    return [outcomes[name] for name in cells]
