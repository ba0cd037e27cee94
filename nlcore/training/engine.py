"""The loop around the methods: warm up, then look, divide and train, epoch by epoch.

`run` is the loop as a generator, so that a notebook can stop at any epoch and look at everything; `nlcore.train` runs
it to its end and keeps the result. With two networks each trains on the division of the other (DivideMix).

Nothing in a training step asks the device for a number, so a GPU never waits for the host.
"""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from nlcore.basics.chance import stream
from nlcore.basics.errors import DivergenceError
from nlcore.data.datasets import Dataset, balanced_sample
from nlcore.methods import METHODS
from nlcore.noise.labels import NoisyLabels
from nlcore.selection.division import Division, Snapshot
from nlcore.selection.streams import min_max
from nlcore.training import distributed
from nlcore.training.config import TrainConfig
from nlcore.training.mixmatch import batches, mixmatch_step, rampup
from nlcore.training.networks import average_weights, recalibrate_batch_norm
from nlcore.training.randaugment import strong_views
from nlcore.training.report import describe_division
from nlcore.training.state import Learner, State, start
from nlcore.training.views import normalise, weak_views

log = logging.getLogger(__name__)

OBSERVE_BATCH = 1000
RECALIBRATION_IMAGES = 2000
ONE_CYCLE_RISE, ONE_CYCLE_START = 0.25, 1 / 25  # share of the time on the way up, share of the peak to start from


@dataclass(frozen=True)
class Epoch:
    """One epoch as `run` hands it out: the state after it, its row of the history, and what it trained on.

    `snapshot`, `division` and `report` are None during warm-up; of two networks they are those of the first.
    """

    state: State
    row: dict[str, Any]
    snapshot: Snapshot | None = None
    division: Division | None = None
    report: dict[str, Any] | None = None


def run(config: TrainConfig, dataset: Dataset, noisy: NoisyLabels) -> Iterator[Epoch]:
    """The loop from its beginning: yields after every epoch."""
    return epochs(start(config.resolved(), dataset, noisy))


def epochs(state: State, done: int = 0) -> Iterator[Epoch]:
    """The loop from a state in which `done` epochs are over: yields after every further one."""
    config, learners = state.config, state.learners
    for number in range(done, config.epochs):
        started = time.perf_counter()
        state.epoch = number
        rate = set_learning_rate(state)
        if state.pool is not None:
            draw_balanced(state)
        row = {
            "epoch": number + 1,
            "phase": "warmup" if number < config.warmup_epochs else "ssl",
            "learning_rate": rate,
        }
        snapshot = division = report = None
        if number < config.warmup_epochs:
            losses = [warmup_epoch(state, learner) for learner in learners]
        else:
            snapshots = [observe(state, learner=learner) for learner in learners]
            divided = [divide(state, seen, learner) for seen, learner in zip(snapshots, learners, strict=True)]
            divisions, reports = zip(*divided, strict=True)
            row |= describe_divisions(state, divisions, reports)
            # Each of two networks trains on the division of the other, a single one on its own.
            losses = [ssl_epoch(state, divisions[k - 1], k) for k in range(len(learners))]
            snapshot, division, report = snapshots[0], divisions[0], reports[0]
        row["train_loss"] = sum(losses) / len(losses)
        if config.recalibrate:
            for learner in learners:
                recalibrate(state, learner)
        row["test_accuracy"] = evaluate(state)
        if state.holdout is not None:
            row["holdout_accuracy"] = accuracy(state, *state.holdout)
        row["seconds"] = time.perf_counter() - started
        yield Epoch(state, row, snapshot, division, report)


def describe_divisions(state: State, divisions: tuple[Division, ...], reports: tuple[dict, ...]) -> dict[str, Any]:
    """Each network's division in numbers, for the history; that of a second one under `second`."""
    labelled_sets = METHODS[state.config.method].LABELLED
    rows = [describe_division(*pair, labelled_sets, state) for pair in zip(divisions, reports, strict=True)]
    return rows[0] if len(rows) == 1 else rows[0] | {"second": rows[1]}


def draw_balanced(state: State) -> None:
    """Replace the samples that are trained on by another part of the pool, with equally many of every given label."""
    config, device = state.config, state.test_images.device
    generator = torch.Generator().manual_seed(stream(config.seed, f"images of epoch {state.epoch}"))
    rows = balanced_sample(state.pool.given_labels, state.num_classes, config.balanced_images, generator)
    part = state.pool.take(rows)
    state.images, state.given_labels, state.index = part.images.to(device), part.given_labels.to(device), part.index
    state.true_labels = None if part.true_labels is None else part.true_labels.to(device)


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


def observe(
    state: State,
    images: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
    learner: Learner | None = None,
) -> Snapshot:
    """What a teacher sees of the training images, or of other (N, C, H, W) uint8 images with their labels.

    It is the first network's unless another `learner` is given.
    """
    images = state.images if images is None else images
    labels = state.given_labels if labels is None else labels
    teacher = (learner or state.learners[0]).teacher
    distributed.agree(*teacher.buffers())
    teacher.eval()
    parts = images.split(OBSERVE_BATCH)
    logits = torch.zeros(len(images), teacher.classifier.out_features, device=images.device)
    features = torch.zeros(len(images), teacher.classifier.in_features, device=images.device)
    with torch.no_grad(), _precision(state):
        for number in distributed.mine(len(parts)):
            rows = slice(number * OBSERVE_BATCH, number * OBSERVE_BATCH + len(parts[number]))
            logits[rows], features[rows] = teacher(_to_input(state, parts[number]))
    distributed.add_up(logits, features)
    losses = F.cross_entropy(logits, labels, reduction="none")
    _require_finite(losses.sum(), state)
    return Snapshot(logits, features, losses)


def divide(state: State, snapshot: Snapshot, learner: Learner | None = None) -> tuple[Division, dict[str, Any]]:
    """The method's division of a snapshot of the training images, and its report.

    With a `loss_history` the losses are the mean of those of the last epochs, each scaled to [0, 1] (DivideMix does so
    at 90 % noise).
    """
    learner, config = learner or state.learners[0], state.config
    if config.loss_history > 1:
        learner.past_losses = [*learner.past_losses, min_max(snapshot.losses)][-config.loss_history :]
        snapshot = replace(snapshot, losses=torch.stack(learner.past_losses).mean(0))
    if state.golden is not None:
        learner.memory["golden"] = (observe(state, *state.golden, learner), state.golden[1])
    method, classify = METHODS[config.method], learner.teacher.classify
    division, report = method.divide(
        snapshot, state.given_labels, classify, config.settings, learner.memory, state.generator
    )
    distributed.agree(division.membership, division.labelled, division.target, division.weight, division.clean_prob)
    return division, report


def warmup_epoch(state: State, learner: Learner | None = None) -> float:
    """Cross-entropy on the given labels, weak views; returns the mean loss.

    The confidence penalty is the negative entropy: under asymmetric noise a network is sure of wrong labels too soon.
    """
    learner, config = learner or state.learners[0], state.config
    rows = torch.arange(len(state.images), device=state.images.device)
    steps = _steps(len(rows), len(rows), config)
    total = torch.zeros((), device=rows.device)
    learner.student.train()
    for batch in batches(rows, config.batch_size, steps, config.full_batches, state.generator):
        batch = distributed.own(batch)
        if len(batch) < 2:  # batch norm needs two images
            continue
        with _precision(state):
            logits, _ = learner.trainee(_to_input(state, _weak(state, state.images[batch])))
        loss = F.cross_entropy(logits, state.given_labels[batch])
        if config.confidence_penalty:
            log_probs = logits.log_softmax(1)
            loss = loss + config.confidence_penalty * (log_probs.exp() * log_probs).sum(1).mean()
        total += _update(state, learner, loss)
    return _mean_loss(total, steps, state)


def ssl_epoch(state: State, division: Division, number: int = 0) -> float:
    """MixMatch of one network, by its number, on a division; returns the mean loss.

    Without any labelled sample the epoch is one of warm-up; without unlabelled ones, of MixUp on the labelled alone.
    Both are logged.
    """
    config, learner = state.config, state.learners[number]
    teachers = [learner.teacher] + [other.teacher for other in state.learners if other is not learner]
    labelled, unlabelled = division.labelled.nonzero().flatten(), (~division.labelled).nonzero().flatten()
    if len(labelled) == 0:
        log.warning("epoch %d: no sample is labelled; trained as in warm-up", state.epoch + 1)
        return warmup_epoch(state, learner)
    if len(unlabelled) == 0:
        log.info("epoch %d: every sample is labelled; nothing is guessed", state.epoch + 1)
    lam_u = rampup(state.epoch - config.warmup_epochs, config.ssl)
    steps = _steps(len(labelled), len(state.images), config)
    size = config.batch_size
    labelled_batches = batches(labelled, size, steps, config.full_batches, state.generator)
    if config.full_batches and len(unlabelled) < len(labelled):
        # No unlabelled sample is seen more often than a labelled one: filling half of every batch with the same six
        # images spoils batch norm, and their loss would count as much as that of all the others.
        share = len(unlabelled) / len(labelled)
        size, lam_u = max(1, round(size * share)), lam_u * share
    # Without unlabelled samples the step is MixUp on the labelled ones alone.
    unlabelled_batches = batches(
        unlabelled, size, steps if len(unlabelled) else 0, config.full_batches, state.generator
    )
    total = torch.zeros((), device=labelled.device)
    for own in labelled_batches:
        own, others = distributed.own(own), distributed.own(next(unlabelled_batches, unlabelled))
        if len(own) == 0 or len(own) + len(others) < 2:
            continue
        rows = torch.cat([own, others])
        images = state.images[rows]
        weak = [_to_input(state, _weak(state, images)) for _ in range(config.ssl.views)]
        learn = weak
        if config.ssl.strong:
            views = (strong_views(images, config.pad, config.flip, state.generator) for _ in weak)
            learn = [_to_input(state, view) for view in views]
        lam = float(state.rng.beta(config.ssl.alpha, config.ssl.alpha))
        with _precision(state):
            loss = mixmatch_step(
                learner.trainee,
                teachers,
                weak,
                learn,
                division.target[own],
                division.weight[own],
                lam_u,
                lam,
                config.ssl,
                state.generator,
            )
        total += _update(state, learner, loss)
    return _mean_loss(total, steps, state)


def recalibrate(state: State, learner: Learner | None = None) -> None:
    """Measure a teacher's batch-norm statistics on unmixed weak views of up to 2,000 training images."""
    teacher = (learner or state.learners[0]).teacher
    rows = torch.randperm(len(state.images), generator=state.generator, device=state.images.device)
    # Equal batches, so that each image counts the same.
    parts = rows[:RECALIBRATION_IMAGES].chunk(max(1, min(len(rows), RECALIBRATION_IMAGES) // 500))
    with _precision(state):
        recalibrate_batch_norm(teacher, (_to_input(state, _weak(state, state.images[part])) for part in parts))


def evaluate(state: State) -> float:
    """Test accuracy in per cent."""
    return accuracy(state, state.test_images, state.test_labels)


def accuracy(state: State, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of labels (N,) that the teachers' summed logits agree with, in per cent."""
    logits = sum(observe(state, images, labels, learner).logits for learner in state.learners)
    return 100 * float((logits.argmax(1) == labels).double().mean())


def _steps(labelled: int, everything: int, config: TrainConfig) -> int:
    """Steps of an epoch: the same whatever is labelled with full batches, else as long as the labelled samples last."""
    if config.full_batches:
        return max(1, round(everything / config.batch_size))
    return -(-labelled // config.batch_size)


def _update(state: State, learner: Learner, loss: torch.Tensor) -> torch.Tensor:
    """One optimiser step and its share in the average weights; returns the detached loss."""
    learner.optimiser.zero_grad()
    loss.backward()
    learner.optimiser.step()
    learner.step += 1
    if state.config.ema_decay:
        # A short memory at first, so that the random initial weights are soon forgotten.
        decay = min(state.config.ema_decay, (1 + learner.step) / (10 + learner.step))
        average_weights(learner.teacher, learner.student, decay)
    return loss.detach()


def _mean_loss(total: torch.Tensor, steps: int, state: State) -> float:
    distributed.add_up(total)
    _require_finite(total, state)
    return float(total) / (steps * distributed.size())


def _require_finite(value: torch.Tensor, state: State) -> None:
    # Once an epoch: asking in every step would make a GPU wait.
    if not bool(value.isfinite()):
        raise DivergenceError(
            f"the loss became {'NaN' if bool(value.isnan()) else 'infinite'} in epoch {state.epoch + 1}"
        )


def _weak(state: State, images: torch.Tensor) -> torch.Tensor:
    return weak_views(images, state.config.pad, state.config.flip, state.generator)


def _to_input(state: State, images: torch.Tensor) -> torch.Tensor:
    return normalise(images, state.mean, state.std).contiguous(memory_format=torch.channels_last)


def _precision(state: State) -> torch.autocast:
    return torch.autocast(state.images.device.type, torch.bfloat16, enabled=state.config.precision == "bfloat16")
