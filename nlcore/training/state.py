"""Everything that changes during a run is in one `State`, and `start` makes a fresh one."""

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from nlcore.basics.chance import seeded, stream
from nlcore.basics.errors import InputError
from nlcore.basics.machine import resolved_precision
from nlcore.data.datasets import Dataset
from nlcore.methods import METHODS, brings
from nlcore.noise.labels import NO_CLASS, NoisyLabels
from nlcore.training import distributed
from nlcore.training.config import TrainConfig
from nlcore.training.networks import NETWORKS, VECTOR_NETWORKS, Network, build_network, frozen_copy
from nlcore.training.views import normalise
from nlcore.training.whitened import PATCHES_OF, WhitenedNet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Samples:
    """Images (N, C, H, W) uint8 or vectors (N, d), given and true labels (N,) or None, their rows in the whole training
    set (N,), and the share of each class (N, K) where the labels are soft."""

    images: torch.Tensor
    given_labels: torch.Tensor
    true_labels: torch.Tensor | None
    index: torch.Tensor
    soft_labels: torch.Tensor | None = None

    def take(self, rows: torch.Tensor) -> "Samples":
        """Those of some rows (n,)."""
        if len(rows) == len(self.index):  # everything: a memory map must not be copied into memory
            return self
        held = (self.images, self.given_labels, self.true_labels, self.index, self.soft_labels)
        return Samples(*(None if values is None else values[rows] for values in held))


@dataclass
class Learner:
    """One network and what belongs to it alone.

    `teacher` holds the average weights: it divides, guesses and is tested; without averaging it is the student itself.
    `trainee` is the student as the training step calls it, which for several processes is wrapped. `memory` belongs to
    the method; `past_losses` are the scaled losses (N,) of the last epochs.
    """

    student: Network
    teacher: Network
    trainee: torch.nn.Module
    optimiser: torch.optim.Optimizer
    memory: dict[str, Any] = field(default_factory=dict)
    past_losses: list[torch.Tensor] = field(default_factory=list)
    step: int = 0


@dataclass
class State:
    """All that a run is at one moment.

    `index` (N,) maps the rows that are trained on to rows of the whole training set, of `full_size`: a subset, a
    hold-out and a golden set leave some out. `precision` is the one that the run has resolved to. `pool` holds all
    samples, on the host, where every epoch draws a balanced part of them; else None. `holdout` has images and given
    labels, `golden` images and true labels, or None. `files` are the names of the image files of the whole training
    set, or None. `soft_labels` (N, K) are what plain training learns in place of the given labels, where the noise has
    such and is asked for them; else None.
    """

    config: TrainConfig
    images: torch.Tensor
    given_labels: torch.Tensor
    true_labels: torch.Tensor | None
    index: torch.Tensor
    full_size: int
    precision: str
    pool: Samples | None
    holdout: tuple[torch.Tensor, torch.Tensor] | None
    golden: tuple[torch.Tensor, torch.Tensor] | None
    test_images: torch.Tensor
    test_labels: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    class_names: tuple[str, ...]
    learners: list[Learner]
    generator: torch.Generator
    rng: np.random.Generator
    files: tuple[str, ...] | None = None
    soft_labels: torch.Tensor | None = None
    epoch: int = 0

    @property
    def num_classes(self) -> int:
        return self.student.classifier.out_features

    @property
    def student(self) -> Network:
        """The first network."""
        return self.learners[0].student

    @property
    def teacher(self) -> Network:
        """The average weights of the first network."""
        return self.learners[0].teacher


def start(config: TrainConfig, dataset: Dataset, noisy: NoisyLabels) -> State:
    """A fresh state for a resolved configuration; an `InputError` if it is one for a dataset of another name."""
    config = config.on(dataset.name)
    device = distributed.device(config.device)
    distributed.make_current(device)
    # `torch.backends.cudnn.benchmark` is left off: batches change their size, and for each size it searches anew.
    # First of all, because it refuses what a network does not fit.
    learners = [new_learner(config, dataset, number, device) for number in range(config.networks)]
    soft = noisy.soft_labels if config.noise_options.get("soft") else None
    everything = Samples(dataset.train_images, noisy.given_labels, noisy.true_labels, dataset.train_index, soft)
    rows, holdout_rows, golden_rows = _set_aside(len(noisy.given_labels), config)
    samples = everything.take(rows)
    pool = samples if config.balanced_images else None
    mean, std = dataset.channel_statistics()
    return State(
        config=config,
        images=samples.images if pool else samples.images.to(device),
        given_labels=samples.given_labels.to(device),
        true_labels=None if samples.true_labels is None else samples.true_labels.to(device),
        index=samples.index.to(device),
        full_size=dataset.full_size,
        precision=resolved_precision(config.precision, device),
        pool=pool,
        holdout=_holdout(everything, holdout_rows, device),
        golden=_golden(everything, golden_rows, device),
        test_images=dataset.test_images.to(device),
        test_labels=dataset.test_labels.to(device),
        mean=mean.to(device),
        std=std.to(device),
        class_names=dataset.class_names,
        learners=learners,
        generator=torch.Generator(device).manual_seed(stream(config.seed, "training")),
        rng=np.random.default_rng(stream(config.seed, "mixing")),
        files=dataset.files,
        soft_labels=None if samples.soft_labels is None else samples.soft_labels.to(device),
    )


def new_learner(config: TrainConfig, dataset: Dataset, number: int, device: torch.device) -> Learner:
    """A fresh network with its optimiser. The second one differs from the first by its initial weights."""
    if (config.network in VECTOR_NETWORKS) != dataset.holds_vectors:
        fitting = VECTOR_NETWORKS if dataset.holds_vectors else [n for n in NETWORKS if n not in VECTOR_NETWORKS]
        kind = "vectors" if dataset.holds_vectors else "images"
        raise InputError(
            f"{dataset.name} holds {kind}; networks for them are {', '.join(fitting)}, not {config.network}"
        )
    channels, *sides = dataset.train_images.shape[1:]
    size, seed = min(sides, default=1), stream(config.seed, f"network {number}")
    student = build_network(config.network, channels, dataset.num_classes, seed, size, bool(config.pretrained))
    if isinstance(student, WhitenedNet):
        student.whiten(normalise(dataset.train_images[:PATCHES_OF], *dataset.channel_statistics()))
    if brings(config.method, "extra_heads"):
        with seeded(stream(config.seed, f"heads {number}")):
            heads = METHODS[config.method].extra_heads
            student.heads.update(heads(student.classifier.in_features, dataset.num_classes, config.settings))
    student = student.to(device, memory_format=torch.channels_last)
    teacher = frozen_copy(student) if config.ema_decay else student
    if config.compile:
        student.compile()
    optimiser = torch.optim.SGD(
        student.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
        fused=True,
    )
    if len(student.heads) and config.momentum:
        # Heads may join in after a warm-up, and torch's fused step wants the momenta of all parameters or of none.
        for parameter in student.parameters():
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return Learner(student, teacher, distributed.wrap(student), optimiser)


def _set_aside(n: int, config: TrainConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows to train on, rows of the hold-out and rows of the golden set, each sorted."""
    golden = getattr(config.settings, "golden", 0)
    held_out = round(config.holdout * n)
    if golden + held_out >= n:
        kind = f"a golden set of {golden}" if golden else f"a hold-out of {held_out}"
        raise InputError(f"{kind} leaves nothing of {n} samples to train on")
    if config.holdout and not held_out:
        raise InputError(
            f"a hold-out of {config.holdout:g} is no whole sample of {n}; set holdout to {1 / n:.2g} or more"
        )
    left = min(n - golden - held_out, config.balanced_images or n)
    if config.full_batches and config.batch_size > left:
        log.warning("batch_size %d is cut to the %d samples to train on", config.batch_size, left)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(stream(config.seed, "set aside")))
    parts = order.split([golden, held_out, n - golden - held_out])
    golden_rows, holdout_rows, rows = (part.sort().values for part in parts)
    return rows, holdout_rows, golden_rows


def _holdout(everything: Samples, rows: torch.Tensor, device) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Images and given labels of the hold-out; None if it is empty."""
    if len(rows) == 0:
        return None
    return everything.images[rows].to(device), everything.given_labels[rows].to(device)


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
