"""A configuration's run from its data to its result. What happens in an epoch is in `nlcore.training.engine`."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from nlcore.basics.errors import Paused, require
from nlcore.basics.files import locked, user_path
from nlcore.basics.machine import cpu_threads, reset_peak_memory
from nlcore.basics.ranges import Range
from nlcore.data.datasets import Dataset, load_dataset
from nlcore.noise.labels import NoisyLabels
from nlcore.training import checkpoint, distributed, kept
from nlcore.training.checkpoint import Progress
from nlcore.training.clean_model import corrupt
from nlcore.training.config import TrainConfig
from nlcore.training.engine import Epoch, divide
from nlcore.training.observe import observe
from nlcore.training.origins import origins
from nlcore.training.report import sample_table
from nlcore.training.result import Result
from nlcore.training.state import State, start

TIME_BUDGETS = Range(0)  # seconds
KEEP_EVERY = 60.0  # seconds between two checkpoints: writing one may take as long as an epoch


def train(
    config: TrainConfig,
    dataset: Dataset | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    folder: str | Path | None = None,
    time_budget: float | None = None,
) -> Result:
    """Run a configuration to its end.

    Parameters
    ----------
    config : what to run.
    dataset : used instead of loading `config.dataset`. The run goes by its name, which decides the recipe: a
        configuration that is still open takes the name; one that is filled in (resolved, or with `ssl` or `settings`)
        must have it.
    on_epoch : called after every epoch.
    folder : of checkpoints, one a minute, one at every stop and one at the end. A run that was stopped there goes on,
        on a CPU with the same numbers as if it had not been stopped. No other run may write there at the same time.
    time_budget : seconds after which no further epoch begins that would not fit, judged by the one before.

    Raises
    ------
    InputError : a configuration, a time budget or data that cannot be run, a folder that another run is using, or a
        checkpoint of something else.
    DivergenceError : the loss became NaN or infinite; the message says in which epoch.
    Paused : stopped after an epoch, by the time budget or by SIGTERM (with a folder).
    """
    started = time.perf_counter()
    require(config, TrainConfig, "the configuration")
    require(dataset, Dataset | None, "the data of a run", "; load_dataset makes one")
    config = config.resolved(dataset)
    folder = None if folder is None else user_path(folder)
    if time_budget is not None:
        TIME_BUDGETS.check("time_budget", time_budget)
    with (
        distributed.joined(),
        locked(folder) if folder and distributed.rank() == 0 else nullcontext(),
        cpu_threads(config.threads),
        sigterm_asked(folder is not None) as asked,
    ):
        files = origins(config)
        dataset, noisy = prepare(config, dataset)
        identity = ", ".join([noisy.identity, *(f"{what} {digest}" for what, digest in files.items())])
        state = start(config, dataset, noisy)
        reset_peak_memory(state.given_labels.device)
        progress = checkpoint.restore(folder, state, identity) if folder else None
        progress = progress or Progress([], 0.0)
        before, kept_at = progress.seconds, time.perf_counter()
        for epoch in kept.epochs(state, done=len(progress.history), keep_all=False):
            history = [*progress.history, epoch.row]
            finished = len(history) == config.epochs
            samples = final_samples(state, epoch) if finished else None
            # An epoch that another run has trained counts with the time that it took there.
            before += epoch.row["seconds"] if epoch.trained_elsewhere else 0.0
            now = time.perf_counter()
            progress = Progress(history, before + now - started, samples)
            late = time_budget is not None and now - started + epoch.row["seconds"] > time_budget
            stops = not finished and distributed.any_process(asked.is_set() or late)
            if folder and distributed.rank() == 0 and (finished or stops or now - kept_at >= KEEP_EVERY):
                checkpoint.save(folder, state, identity, progress)
                kept_at = time.perf_counter()
            if on_epoch:
                on_epoch(epoch)
            if stops:
                raise Paused(f"stopped after epoch {len(history)} of {config.epochs}; the same command goes on")
        return Result.of(state, noisy, progress.history, progress.samples, progress.seconds, files)


def final_samples(state: State, epoch: Epoch) -> dict[str, list]:
    """The columns of `samples.csv` after the last epoch."""
    snapshot, division = epoch.snapshot, epoch.division
    if division is None:  # cross-entropy never divides while it trains
        snapshot = observe(state)
        division, _ = divide(state, snapshot)
    return sample_table(state, snapshot, division)


@contextmanager
def sigterm_asked(listen: bool) -> Iterator[threading.Event]:
    """An event that SIGTERM sets inside the block, where Python can listen: in the main thread."""
    asked = threading.Event()
    if not listen or threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def first_interrupt_stops() -> Iterator[None]:
    """Inside the block Ctrl-C asks for a stop after the epoch, as SIGTERM does; a second one ends it at once.

    Where Ctrl-C is ignored, as by a job in the background, it stays so.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, signal.SIG_IGN):  # nobody listens: not yet in training
            raise KeyboardInterrupt
        print("nlcore: stopping after this epoch; Ctrl-C once more stops at once and loses it", file=sys.stderr)
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGINT)
    if before != signal.SIG_IGN:
        signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def prepare(config: TrainConfig, dataset: Dataset | None = None) -> tuple[Dataset, NoisyLabels]:
    """The dataset of a configuration (its subset, if it asks for one), as a learner meets it, and its noisy labels.

    A `dataset` that is handed over is used instead of loading one, as in `train`.
    """
    if dataset is None:
        dataset = load_dataset(config.dataset, **config.data_options)
    config.on(dataset.name)  # refuses one that is filled in for another
    if config.subset is not None:
        dataset = dataset.subset(config.subset)
    noisy = corrupt(dataset, config.noise, config.rate, config.seed, **config.noise_options)
    return noisy.shown(dataset), noisy
