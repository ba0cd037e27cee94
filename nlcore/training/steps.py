"""What every epoch is made of: batches, views, one update of the weights.

`Steps` is handed to a method that brings an epoch of its own, so that its file needs to know nothing of the engine; the
epochs of the package, in `nlcore.training.epoch`, are written with it too. Nothing in it asks the device for a number,
so a GPU never waits for the host.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from nlcore.basics.errors import DivergenceError
from nlcore.basics.progress import beat
from nlcore.training import distributed
from nlcore.training.mixmatch import batches, mix
from nlcore.training.networks import average_weights
from nlcore.training.randaugment import strong_views
from nlcore.training.state import Learner, State
from nlcore.training.views import STRONG_VECTOR, WEAK_VECTOR, normalise, vector_views, weak_views


@dataclass(frozen=True)
class Batch:
    """What a loss of a method's own is computed from.

    Attributes
    ----------
    index : (B,) int64, rows of the whole training set, for what is remembered of each sample.
    full_size : samples in the whole training set.
    epoch : number of the epoch, from 0.
    labels : (B,) int64, the labels to learn: the given ones, or the targets of the method's division; in plain training
        on soft labels the share of each class, (B, K) float32.
    logits : (B, K) float32.
    features : (B, d) float32.
    heads : outputs of the method's extra heads by name.
    """

    index: torch.Tensor
    full_size: int
    epoch: int
    labels: torch.Tensor
    logits: torch.Tensor
    features: torch.Tensor
    heads: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Steps:
    """The means of an epoch of one run.

    `state` holds everything else that an epoch may need: `learners` with their networks and memories, `images`,
    `given_labels`, `generator`, `epoch`. Make new ones for every epoch: between two of them networks may be replaced.
    """

    state: State
    _listed: dict[int, tuple[list, list]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def batch_size(self) -> int:
        """Samples of a batch. All of them, if there are fewer than the configuration says."""
        return min(self.state.config.batch_size, len(self.state.images))

    def count(self, labelled: int) -> int:
        """Steps of an epoch: the same whatever is labelled with full batches, else as long as the labelled last."""
        config = self.state.config
        if config.full_batches:
            return max(1, round(len(self.state.images) / self.batch_size))
        return -(-labelled // self.batch_size)

    def batches(self, rows: torch.Tensor, steps: int, size: int | None = None) -> Iterator[torch.Tensor]:
        """So many random batches (b,) of rows (M,), each of `size` or the configuration's batch size."""
        config = self.state.config
        return batches(rows, size or self.batch_size, steps, config.full_batches, self.state.generator)

    def own(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's part of a batch, all of it where there is one process."""
        return distributed.own(rows)

    def weak(self, rows: torch.Tensor) -> torch.Tensor:
        """Weak views of training images or vectors (B,), as a network takes them: (B, C, H, W) or (B, d) float32."""
        return weak_input(self.state, self.state.images.index_select(0, rows))

    def strong(self, rows: torch.Tensor) -> torch.Tensor:
        """Strong views of the same."""
        return strong_input(self.state, self.state.images.index_select(0, rows))

    def mixed(self, inputs: torch.Tensor, targets: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
        """MixUp of inputs (B, ...) and targets (B, T) among themselves: one lambda ~ Beta(alpha, alpha) for all, never
        below 1/2. With alpha = 0 they stay as they are."""
        if alpha == 0:
            return inputs, targets
        lam = float(self.state.rng.beta(alpha, alpha))
        order = torch.randperm(len(inputs), generator=self.state.generator, device=inputs.device)
        return mix(inputs, targets, lam, order)

    def plain(self, rows: torch.Tensor) -> torch.Tensor:
        """The same as they are, without a random view."""
        return to_input(self.state, self.state.images.index_select(0, rows))

    def precision(self) -> torch.autocast:
        """The context in which networks compute."""
        return precision(self.state)

    def update(self, learner: Learner, loss: torch.Tensor) -> torch.Tensor:
        """One optimiser step and its share in the average weights; returns the detached loss."""
        learner.optimiser.zero_grad()
        loss.backward()
        learner.optimiser.step()
        learner.step += 1
        decay = self.state.config.ema_decay
        if decay:
            # A short memory at first, so that the random initial weights are soon forgotten.
            average_weights(*self._parameters(learner), min(decay, (1 + learner.step) / (10 + learner.step)))
        return loss.detach()

    def _parameters(self, learner: Learner) -> tuple[list, list]:
        """Those of its teacher and of its student, listed once: walking over all modules in every step takes time."""
        if id(learner) not in self._listed:
            networks = learner.teacher, learner.student
            self._listed[id(learner)] = tuple(list(network.parameters()) for network in networks)
        return self._listed[id(learner)]

    def mean_loss(self, total: torch.Tensor, steps: int) -> float:
        """The mean of an epoch's losses, from their sum; a `DivergenceError` if it is not finite."""
        beat()
        distributed.add_up(total)
        require_finite(total, self.state)
        return float(total) / (steps * distributed.size())


def to_input(state: State, images: torch.Tensor) -> torch.Tensor:
    """Images or vectors as a network takes them: uint8 (B, C, H, W) or floats (B, d) -> float32, normalised."""
    inputs = normalise(images, state.mean, state.std)
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs


def weak_input(state: State, images: torch.Tensor) -> torch.Tensor:
    """Weak views of images or vectors, as a network takes them."""
    if images.ndim == 2:
        return vector_views(to_input(state, images), *WEAK_VECTOR, state.generator)
    return to_input(state, weak_views(images, state.config.pad, state.config.flip, state.generator))


def strong_input(state: State, images: torch.Tensor) -> torch.Tensor:
    """Strong views of the same."""
    if images.ndim == 2:
        return vector_views(to_input(state, images), *STRONG_VECTOR, state.generator)
    return to_input(state, strong_views(images, state.config.pad, state.config.flip, state.generator))


def precision(state: State) -> torch.autocast:
    """The context in which networks compute: in bfloat16 if the run has resolved to it."""
    return torch.autocast(state.images.device.type, torch.bfloat16, enabled=state.precision == "bfloat16")


def require_finite(value: torch.Tensor, state: State) -> None:
    """Raise a `DivergenceError` for NaN or infinity. Once an epoch: asking in every step would make a GPU wait."""
    if not bool(value.isfinite()):
        became = "NaN" if bool(value.isnan()) else "infinite"
        raise DivergenceError(f"the loss became {became} in epoch {state.epoch + 1}; try a smaller learning_rate")
