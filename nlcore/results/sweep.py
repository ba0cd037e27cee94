"""Many runs: a grid of configurations and a stored result for each.

A cell of the grid is one run. Its result has a file of its own, so a grid that was interrupted goes on where it
stopped, and a grid that grows by one seed runs only what is new.
"""

import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout

from nlcore.basics.cores import at_most_cores, cores
from nlcore.basics.errors import InputError, Paused, choose, first_line
from nlcore.basics.files import save_file, user_path
from nlcore.basics.machine import code_version
from nlcore.basics.progress import Board, reused
from nlcore.data.datasets import DATASETS
from nlcore.data.own import PREFIX
from nlcore.noise.corrupt import label_file
from nlcore.results.cells import by_name, cell_name
from nlcore.results.tables import read_results
from nlcore.training import distributed
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
    config: TrainConfig, folder: str | Path, any_code: bool = False, wait: bool = True, deadline: float | None = None
) -> str:
    """Run one cell unless `is_stored`. Its result appears whole or not at all.

    Several processes may ask for the same cell: one runs it. A run that was stopped goes on from its last checkpoint.

    Parameters
    ----------
    any_code : see `is_stored`.
    wait : for another process that is running the cell.
    deadline : `time.time()` at which to stop; the run goes on with the next call.

    Returns
    -------
    "ran"; "kept", it was stored; or "elsewhere", another process is running it and this one did not wait.

    Raises
    ------
    Paused : the deadline came first.
    """
    folder, name = user_path(folder), cell_name(config)
    path, unfinished = folder / f"{name}.json", folder / UNFINISHED
    if is_stored(config, folder, any_code):
        return "kept"
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        lock = FileLock(unfinished / f"{name}.lock").acquire(timeout=-1 if wait else 0)
    except Timeout:
        return "elsewhere"
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}") from error
    with lock:
        if is_stored(config, folder, any_code):  # in the meantime
            return "kept"
        if path.exists():
            log.warning("%s is damaged, or of another configuration, other files or other code: run again", path)
        remaining = None if deadline is None else deadline - time.time()
        if remaining is not None and remaining <= 0:
            raise Paused("no time left to begin")
        _tell(name, "")
        # Checkpoints of other code would be refused.
        checkpoints = unfinished / f"{name}_{code_version()}"

        def advanced(epoch: Epoch) -> None:
            _tell(name, f"epoch {epoch.row['epoch']} of {epoch.state.config.epochs}")

        result = train(config, on_epoch=advanced, folder=checkpoints, time_budget=remaining)
        save_file(path, result.to_json())
        shutil.rmtree(checkpoints, ignore_errors=True)
    return "ran"


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
    """What became of a cell: "kept" or "ran", or the error that it ended with."""

    name: str
    status: str
    error: Exception | None = None


def run_all(
    cells: dict[str, TrainConfig],
    folder: str | Path,
    workers: int,
    any_code: bool = False,
    deadline: float | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run the cells that are not stored, several at a time; each one's end is told to `on_outcome`.

    A cell that another process is running is left for the end, where this one waits for it. Outcomes come in the order
    of the cells.

    Raises
    ------
    InputError : a cell that is missing cannot be run, for what can be seen before any of them starts.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    outcomes: dict[str, Outcome] = {}

    def ended(outcome: Outcome) -> None:
        outcomes[outcome.name] = outcome
        if on_outcome:
            on_outcome(outcome)

    missing = []
    for name, config in cells.items():
        if is_stored(config, folder, any_code):
            reused(user_path(folder) / f"{name}.json")
            ended(Outcome(name, "kept"))
        else:
            missing.append(name)
    for name in missing:
        check_cell(name, cells[name])
    if missing:
        workers = min(at_most_cores(workers, "runs at a time"), len(missing))
        threads = max(1, cores() // workers)
        spawn = multiprocessing.get_context("spawn")  # a forked process cannot use an accelerator
        news = spawn.SimpleQueue()
        with Board(missing, "runs", at_a_time=workers) as board:
            threading.Thread(target=_pass_on, args=(news, board), daemon=True).start()
            pool = ProcessPoolExecutor(workers, spawn, _begin_worker, (threads, news))
            try:
                for wait in (False, True):
                    asked = [name for name in missing if name not in outcomes]
                    futures = {pool.submit(run_cell, cells[n], folder, any_code, wait, deadline): n for n in asked}
                    for future in as_completed(futures):
                        error, name = future.exception(), futures[future]
                        if error or future.result() != "elsewhere":
                            outcome = Outcome(name, "failed" if error else future.result(), error)
                            # Who listens writes a line of its own.
                            board.end(name, "" if on_outcome else outcome.status, counts=outcome.status == "ran")
                            ended(outcome)
            finally:  # an interrupted grid drops the cells that have not begun
                pool.shutdown(cancel_futures=True)
                news.put(None)
    return [outcomes[name] for name in cells]


def _pass_on(news: Any, board: Board) -> None:
    """Tell the board what the workers say, until None comes."""
    while (message := news.get()) is not None:
        name, words = message
        if words:
            board.note(name, words)
        else:
            board.start(name)


_news = None  # of a worker: the queue to its parent


def _tell(name: str, words: str) -> None:
    """Tell the parent of this worker, if it is one, that a cell has begun (no words) or how far it is."""
    if _news is not None:
        _news.put((name, words))


def _begin_worker(threads: int, news: Any) -> None:
    """Prepare a fresh process: its threads, its news, and that it does not outlive the one that started it."""
    global _news
    _news = news
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the process that started this one, then end this one too.

    A worker whose parent was killed would run its cell to the end, unseen, and then wait for the next one for ever. The
    first SIGTERM stops a run after its epoch, with a checkpoint; a later one, when nothing runs, ends the process.
    """
    multiprocessing.parent_process().join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
