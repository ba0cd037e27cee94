"""A configuration's run from its data to its result. What happens in an epoch is in `nlcore.engine`."""

import time
from collections.abc import Callable

from nlcore.config import TrainConfig
from nlcore.corruption import corrupt
from nlcore.datasets import Dataset, load_dataset
from nlcore.engine import Epoch, cpu_threads, divide, observe, run
from nlcore.labels import NoisyLabels
from nlcore.results import Result


def train(
    config: TrainConfig, dataset: Dataset | None = None, on_epoch: Callable[[Epoch], None] | None = None
) -> Result:
    """Run a configuration to its end.

    Parameters
    ----------
    config : what to run.
    dataset : used instead of loading `config.dataset`.
    on_epoch : called after every epoch.

    Raises
    ------
    InputError : a configuration or data that cannot be run.
    DivergenceError : the loss became NaN or infinite; the message says in which epoch.
    """
    started = time.perf_counter()
    config = config.resolved()
    dataset, noisy = prepare(config, dataset)
    history, last = [], None
    with cpu_threads(config.threads):
        for epoch in run(config, dataset, noisy):
            history.append(epoch.row)
            last = epoch
            if on_epoch:
                on_epoch(epoch)
        snapshot, division = last.snapshot, last.division
        if division is None:  # cross-entropy never divides while it trains
            snapshot = observe(last.state)
            division, _ = divide(last.state, snapshot)
        return Result.of(config, noisy, history, last.state, snapshot, division, time.perf_counter() - started)


def prepare(config: TrainConfig, dataset: Dataset | None = None) -> tuple[Dataset, NoisyLabels]:
    """The dataset of a configuration (its subset, if it asks for one), as a learner meets it, and its noisy labels."""
    dataset = dataset or load_dataset(config.dataset)
    if config.subset is not None:
        dataset = dataset.subset(config.subset)
    noisy = corrupt(dataset, config.noise, config.rate, config.seed, **config.noise_options)
    return noisy.shown(dataset), noisy
