"""The loop around the methods: warm up, then look, divide and train, epoch by epoch.

`run` is the loop as a generator, so that a notebook can stop at any epoch and look at everything; `nlcore.train` runs
it to its end and keeps the result. Everything that changes during a run is in one `State`.
"""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from nlcore.augment import normalise, strong_views, weak_views
from nlcore.config import TrainConfig
from nlcore.datasets import Dataset, balanced_sample
from nlcore.division import Division, Snapshot
from nlcore.errors import DivergenceError, InputError
from nlcore.labels import NO_CLASS, NoisyLabels
from nlcore.methods import METHODS
from nlcore.mixmatch import batches, mixmatch_step, rampup
from nlcore.networks import average_weights, build_network, frozen_copy, recalibrate_batch_norm
from nlcore.results import describe_division

log = logging.getLogger(__name__)

OBSERVE_BATCH = 1000
RECALIBRATION_IMAGES = 2000


@dataclass(frozen=True)
class Samples:
    """Images (N, C, H, W) uint8, given and true labels (N,) or None, and their rows in the whole training set (N,)."""

    images: torch.Tensor
    given_labels: torch.Tensor
    true_labels: torch.Tensor | None
    index: torch.Tensor

    def take(self, rows: torch.Tensor) -> "Samples":
        """Those of some rows (n,)."""
        if len(rows) == len(self.index):  # everything: a memory map must not be copied into memory
            return self
        true = None if self.true_labels is None else self.true_labels[rows]
        return Samples(self.images[rows], self.given_labels[rows], true, self.index[rows])


@dataclass
class State:
    """All that a run is at one moment.

    `index` (N,) maps the rows that are trained on to rows of the whole training set: a subset and a golden set leave
    some out. `pool` holds all samples, on the host, where every epoch draws a balanced part of them; else None.
    `teacher` divides, guesses and is tested; without average weights it is the student itself. `memory` belongs to the
    method.
    """

    config: TrainConfig
    images: torch.Tensor
    given_labels: torch.Tensor
    true_labels: torch.Tensor | None
    index: torch.Tensor
    pool: Samples | None
    golden: tuple[torch.Tensor, torch.Tensor] | None
    test_images: torch.Tensor
    test_labels: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    student: torch.nn.Module
    teacher: torch.nn.Module
    optimiser: torch.optim.Optimizer
    memory: dict[str, Any]
    generator: torch.Generator
    rng: np.random.Generator
    epoch: int = 0
    step: int = 0

    @property
    def num_classes(self) -> int:
        return self.student.classifier.out_features


@dataclass(frozen=True)
class Epoch:
    """One epoch as `run` hands it out: the state after it, its row of the history, and what it trained on.

    `snapshot`, `division` and `report` are None during warm-up.
    """

    state: State
    row: dict[str, Any]
    snapshot: Snapshot | None = None
    division: Division | None = None
    report: dict[str, Any] | None = None


def run(config: TrainConfig, dataset: Dataset, noisy: NoisyLabels) -> Iterator[Epoch]:
    """The loop: yields after every epoch."""
    config = config.resolved()
    state = start(config, dataset, noisy)
    for number in range(config.epochs):
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
            row["train_loss"] = warmup_epoch(state)
        else:
            snapshot = observe(state)
            division, report = divide(state, snapshot)
            row |= describe_division(division, report, METHODS[config.method].LABELLED, state)
            row["train_loss"] = ssl_epoch(state, division)
        if config.recalibrate:
            recalibrate(state)
        row["test_accuracy"] = evaluate(state)
        row["seconds"] = time.perf_counter() - started
        yield Epoch(state, row, snapshot, division, report)


def start(config: TrainConfig, dataset: Dataset, noisy: NoisyLabels) -> State:
    """A fresh state for a resolved configuration."""
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(automatic if config.device == "auto" else config.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is available here; choose device=cpu or auto")
    generator = torch.Generator(device).manual_seed(config.seed)
    everything = Samples(dataset.train_images, noisy.given_labels, noisy.true_labels, dataset.train_index)
    rows, golden_rows = _set_golden_aside(len(noisy.given_labels), config)
    samples, golden = everything.take(rows), _golden(everything, golden_rows, device)
    pool = samples if config.balanced_images else None
    mean, std = dataset.channel_statistics()
    student = build_network(config.network, dataset.train_images.shape[1], dataset.num_classes, config.seed)
    student = student.to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        student.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=True,
    )
    return State(
        config=config,
        images=samples.images if pool else samples.images.to(device),
        given_labels=samples.given_labels.to(device),
        true_labels=None if samples.true_labels is None else samples.true_labels.to(device),
        index=samples.index,
        pool=pool,
        golden=golden,
        test_images=dataset.test_images.to(device),
        test_labels=dataset.test_labels.to(device),
        mean=mean.to(device),
        std=std.to(device),
        student=student,
        teacher=frozen_copy(student) if config.ema_decay else student,
        optimiser=optimiser,
        memory={},
        generator=generator,
        rng=np.random.default_rng(config.seed),
    )


def _set_golden_aside(n: int, config: TrainConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows to train on and rows of the golden set, both sorted."""
    size = getattr(config.settings, "golden", 0)
    if size >= n:
        raise InputError(f"a golden set of {size} leaves nothing of {n} images to train on")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(config.seed))
    return order[size:].sort().values, order[:size].sort().values


def _golden(everything: Samples, rows: torch.Tensor, device) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Images and true labels of the golden set; None if it is empty."""
    if len(rows) == 0:
        return None
    if everything.true_labels is None:
        raise InputError("a golden set needs true labels, and those of this dataset are not known")
    labels = everything.true_labels[rows]
    if bool((labels == NO_CLASS).any()):
        raise InputError("a golden set needs a class for every image, and open-set noise leaves some without")
    return everything.images[rows].to(device), labels.to(device)


def draw_balanced(state: State) -> None:
    """Replace the samples that are trained on by another part of the pool, with equally many of every given label."""
    config, device = state.config, state.test_images.device
    generator = torch.Generator().manual_seed(1_000_003 * config.seed + state.epoch)
    rows = balanced_sample(state.pool.given_labels, state.num_classes, config.balanced_images, generator)
    part = state.pool.take(rows)
    state.images, state.given_labels, state.index = part.images.to(device), part.given_labels.to(device), part.index
    state.true_labels = None if part.true_labels is None else part.true_labels.to(device)


def set_learning_rate(state: State) -> float:
    """Set and return this epoch's learning rate."""
    config = state.config
    progress = state.epoch / config.epochs
    factor = (
        0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else (0.1 if progress >= 0.5 else 1.0)
    )
    for group in state.optimiser.param_groups:
        group["lr"] = config.learning_rate * factor
    return config.learning_rate * factor


def observe(state: State, images: torch.Tensor | None = None, labels: torch.Tensor | None = None) -> Snapshot:
    """What the teacher sees of the training images, or of other (N, C, H, W) uint8 images with their labels."""
    images = state.images if images is None else images
    labels = state.given_labels if labels is None else labels
    state.teacher.eval()
    with torch.no_grad(), _precision(state):
        parts = [state.teacher(_to_input(state, batch)) for batch in images.split(OBSERVE_BATCH)]
    logits, features = (torch.cat(part) for part in zip(*parts, strict=True))
    losses = F.cross_entropy(logits, labels, reduction="none")
    _require_finite(losses.sum(), state)
    return Snapshot(logits, features, losses)


def divide(state: State, snapshot: Snapshot) -> tuple[Division, dict[str, Any]]:
    """The method's division of a snapshot of the training images, and its report."""
    if state.golden is not None:
        state.memory["golden"] = (observe(state, *state.golden), state.golden[1])
    method, settings = METHODS[state.config.method], state.config.settings
    return method.divide(snapshot, state.given_labels, state.teacher.classify, settings, state.memory, state.generator)


def warmup_epoch(state: State) -> float:
    """Cross-entropy on the given labels, weak views; returns the mean loss."""
    config = state.config
    rows = torch.arange(len(state.images), device=state.images.device)
    steps = _steps(len(rows), len(rows), config)
    total = torch.zeros((), device=rows.device)
    for batch in batches(rows, config.batch_size, steps, config.full_batches, state.generator):
        if len(batch) < 2:  # batch norm needs two images
            continue
        state.student.train()
        with _precision(state):
            logits, _ = state.student(_to_input(state, _weak(state, state.images[batch])))
        loss = F.cross_entropy(logits, state.given_labels[batch])
        total += _update(state, loss)
    return _mean_loss(total, steps, state)


def ssl_epoch(state: State, division: Division) -> float:
    """MixMatch on a division; returns the mean loss.

    Without any labelled sample the epoch is one of warm-up; without unlabelled ones, of MixUp on the labelled alone.
    Both are logged.
    """
    config = state.config
    labelled, unlabelled = division.labelled.nonzero().flatten(), (~division.labelled).nonzero().flatten()
    if len(labelled) == 0:
        log.warning("epoch %d: no sample is labelled; trained as in warm-up", state.epoch + 1)
        return warmup_epoch(state)
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
        others = next(unlabelled_batches, unlabelled)
        if len(own) + len(others) < 2:
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
                state.student,
                state.teacher,
                weak,
                learn,
                division.target[own],
                division.weight[own],
                lam_u,
                lam,
                config.ssl,
                state.generator,
            )
        total += _update(state, loss)
    return _mean_loss(total, steps, state)


def recalibrate(state: State) -> None:
    """Measure the teacher's batch-norm statistics on unmixed weak views of up to 2,000 training images."""
    rows = torch.randperm(len(state.images), generator=state.generator, device=state.images.device)
    # Equal batches, so that each image counts the same.
    parts = rows[:RECALIBRATION_IMAGES].chunk(max(1, min(len(rows), RECALIBRATION_IMAGES) // 500))
    with _precision(state):
        recalibrate_batch_norm(state.teacher, (_to_input(state, _weak(state, state.images[part])) for part in parts))


def evaluate(state: State) -> float:
    """Test accuracy of the teacher, in per cent."""
    snapshot = observe(state, state.test_images, state.test_labels)
    return 100 * float((snapshot.logits.argmax(1) == state.test_labels).double().mean())


def _steps(labelled: int, everything: int, config: TrainConfig) -> int:
    """Steps of an epoch: the same whatever is labelled with full batches, else as long as the labelled samples last."""
    if config.full_batches:
        return max(1, round(everything / config.batch_size))
    return -(-labelled // config.batch_size)


def _update(state: State, loss: torch.Tensor) -> torch.Tensor:
    """One optimiser step and its share in the average weights; returns the detached loss."""
    state.optimiser.zero_grad()
    loss.backward()
    state.optimiser.step()
    state.step += 1
    if state.config.ema_decay:
        # A short memory at first, so that the random initial weights are soon forgotten.
        decay = min(state.config.ema_decay, (1 + state.step) / (10 + state.step))
        average_weights(state.teacher, state.student, decay)
    return loss.detach()


def _mean_loss(total: torch.Tensor, steps: int, state: State) -> float:
    _require_finite(total, state)
    return float(total) / steps


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


@contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Let torch use so many CPU threads inside the block; 0 changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _precision(state: State) -> torch.autocast:
    return torch.autocast(state.images.device.type, torch.bfloat16, enabled=state.config.precision == "bfloat16")
