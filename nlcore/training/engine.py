"""The loop around the methods: warm up, then look, divide and train, epoch by epoch.

`run` is the loop as a generator, so that a notebook can stop at any epoch and look at everything; `nlcore.train` runs
it to its end and keeps the result. What a method brings is looked for in its file, see `nlcore.methods`.
"""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from nlcore.basics.chance import stream
from nlcore.data.datasets import Dataset, balanced_sample
from nlcore.methods import METHODS, labelled_sets
from nlcore.noise.labels import NoisyLabels
from nlcore.selection.division import Division, Snapshot, everything_labelled
from nlcore.selection.streams import min_max
from nlcore.training import distributed
from nlcore.training.config import TrainConfig
from nlcore.training.epoch import method_epoch, warmup_epoch
from nlcore.training.observe import accuracy, evaluate, observe, recalibrate
from nlcore.training.report import describe_division
from nlcore.training.state import Learner, State, start
from nlcore.training.steps import Steps

log = logging.getLogger(__name__)

ONE_CYCLE_RISE, ONE_CYCLE_START = 0.25, 1 / 25  # share of the time on the way up, share of the peak to start from


@dataclass(frozen=True)
class Epoch:
    """One epoch as `run` hands it out: the state after it, its row of the history, and what it trained on.

    `snapshot`, `division` and `report` are None during warm-up; of two networks they are those of the first.
    `trained_elsewhere`: by an earlier run that began alike, see `nlcore.training.kept`.
    """

    state: State
    row: dict[str, Any]
    snapshot: Snapshot | None = None
    division: Division | None = None
    report: dict[str, Any] | None = None
    trained_elsewhere: bool = False


def run(config: TrainConfig, dataset: Dataset, noisy: NoisyLabels) -> Iterator[Epoch]:
    """The loop from its beginning: yields after every epoch."""
    return epochs(start(config.resolved(dataset), dataset, noisy))


def epochs(state: State, done: int = 0) -> Iterator[Epoch]:
    """The loop from a state in which `done` epochs are over: yields after every further one."""
    config, learners = state.config, state.learners
    divides = hasattr(METHODS[config.method], "divide")
    for number in range(done, config.epochs):
        started = time.perf_counter()
        state.epoch = number
        rate = set_learning_rate(state)
        if state.pool is not None:
            draw_balanced(state)
        phase = "warmup" if number < config.warmup_epochs else "ssl" if divides else "own"
        row = {"epoch": number + 1, "phase": phase, "learning_rate": rate}
        snapshots = divisions = reports = None
        if phase == "warmup":
            losses = [warmup_epoch(state, learner) for learner in learners]
            row["train_loss"] = sum(losses) / len(losses)
        else:
            if divides:
                snapshots = [observe(state, learner=learner) for learner in learners]
                divided = [divide(state, seen, learner) for seen, learner in zip(snapshots, learners, strict=True)]
                divisions, reports = zip(*divided, strict=True)
                row |= describe_divisions(state, snapshots, divisions, reports)
            row["train_loss"] = method_epoch(state, divisions)
        if config.recalibrate:
            for learner in learners:
                recalibrate(state, learner)
        row["test_accuracy"] = evaluate(state)
        if state.holdout is not None:
            row["holdout_accuracy"] = accuracy(state, *state.holdout)
        row["seconds"] = time.perf_counter() - started
        yield Epoch(state, row, *(parts and parts[0] for parts in (snapshots, divisions, reports)))


def describe_divisions(
    state: State, snapshots: list[Snapshot], divisions: tuple[Division, ...], reports: tuple[dict, ...]
) -> dict[str, Any]:
    """Each network's division in numbers, for the history; that of a second one under `second`."""
    trained = labelled_sets(state.config.method)
    parts = zip(divisions, reports, snapshots, strict=True)
    rows = [describe_division(division, report, trained, state, seen) for division, report, seen in parts]
    return rows[0] if len(rows) == 1 else rows[0] | {"second": rows[1]}


def draw_balanced(state: State) -> None:
    """Replace the samples that are trained on by another part of the pool, with equally many of every given label."""
    config, device = state.config, state.test_images.device
    generator = torch.Generator().manual_seed(stream(config.seed, f"images of epoch {state.epoch}"))
    rows = balanced_sample(state.pool.given_labels, state.num_classes, config.balanced_images, generator)
    part = state.pool.take(rows)
    state.images, state.given_labels = part.images.to(device), part.given_labels.to(device)
    state.index = part.index.to(device)
    state.true_labels = None if part.true_labels is None else part.true_labels.to(device)
    state.soft_labels = None if part.soft_labels is None else part.soft_labels.to(device)


def set_learning_rate(state: State) -> float:
    """Set and return this epoch's learning rate."""
    config = state.config
    rate = config.learning_rate * learning_rate_factor(config.schedule, state.epoch / config.epochs)
    for learner in state.learners:
        for group in learner.optimiser.param_groups:
            group["lr"] = rate
    return rate


def learning_rate_factor(schedule: str, progress: float) -> float:
    """What a schedule multiplies the learning rate with when `progress`, in [0, 1), of all epochs are over."""
    if schedule == "step":
        return 0.1 if progress >= 0.5 else 1.0
    if schedule == "one_cycle":
        if progress < ONE_CYCLE_RISE:
            return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * progress / ONE_CYCLE_RISE
        progress = (progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE)
    return 0.5 * (1 + math.cos(math.pi * progress))


def divide(state: State, snapshot: Snapshot, learner: Learner | None = None) -> tuple[Division, dict[str, Any]]:
    """The method's division of a snapshot of the training images, and its report.

    A method that never divides believes every label. With a `loss_history` the losses are the mean of those of the last
    epochs, each scaled to [0, 1] (DivideMix does so at 90 % noise).
    """
    learner, config = learner or state.learners[0], state.config
    if not hasattr(METHODS[config.method], "divide"):
        return everything_labelled(snapshot, state.given_labels), {}
    if config.loss_history > 1:
        learner.past_losses = [*learner.past_losses, min_max(snapshot.losses)][-config.loss_history :]
        snapshot = replace(snapshot, losses=torch.stack(learner.past_losses).mean(0))
    if state.golden is not None:
        learner.memory["golden"] = (observe(state, *state.golden, learner), state.golden[1])
    done, of = state.epoch - config.warmup_epochs, config.epochs - config.warmup_epochs
    snapshot = replace(snapshot, progress=max(0, done) / max(1, of))  # straight after warm-up nothing is over
    method, classify = METHODS[config.method], learner.teacher.classify
    if hasattr(method, "look"):
        snapshot = method.look(Steps(state), learner, snapshot, config.settings)
    division, report = method.divide(
        snapshot, state.given_labels, classify, config.settings, learner.memory, state.generator
    )
    distributed.agree(division.membership, division.labelled, division.target, division.weight, division.clean_prob)
    return division, report
