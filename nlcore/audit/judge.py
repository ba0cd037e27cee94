"""A network as a judge: a method of this package is trained on labels as they are given, and asked about other samples.

It is trained as everywhere in the package, on three quarters of the samples, and judges the rest: even a method that
is careful whom it believes learns labels by heart where samples are few. Small data get smaller batches and more
epochs, until there are enough updates; what is long is kept in checkpoints, so that it can be stopped anywhere.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from nlcore.audit.evidence import NEIGHBOURS, VOTERS, neighbour_votes, some
from nlcore.basics.machine import cpu_threads
from nlcore.data.datasets import Dataset
from nlcore.noise.labels import NoisyLabels
from nlcore.selection.voting import nearest
from nlcore.training import checkpoint
from nlcore.training.checkpoint import Progress
from nlcore.training.config import TrainConfig
from nlcore.training.engine import divide, epochs
from nlcore.training.networks import Network
from nlcore.training.observe import observe
from nlcore.training.state import State, start
from nlcore.training.views import normalise

UPDATES = 300  # of a network at least: a dozen epochs are too few where samples are few
SMALLEST_BATCH = 16
LARGE = 10_000  # vectors from which batches are larger: half the time, and no worse a judge
LARGE_BATCH, LARGEST_BATCH = 256, 1024  # of 10,000 vectors, and of 150,000 and more
FEWEST_EPOCHS = 6  # six epochs judge as well as the twelve that a test accuracy needs
MOST_UPDATES = 4000  # of a network that learns images
AT_ONCE = 2000  # samples that are judged at once
KEEP_EVERY = 30.0  # seconds between two checkpoints


@dataclass(frozen=True)
class Judge:
    """Trained networks, how inputs are scaled for them, and what they were taught.

    Attributes
    ----------
    classes : (C,) int64, the classes that they know; the others had no sample to learn from.
    num_classes : K, all of them.
    taught, targets : features (M, d), unit vectors, and labels (M,) in [0, C) of the samples that the method believed.
    """

    networks: tuple[Network, ...]
    mean: torch.Tensor
    std: torch.Tensor
    classes: torch.Tensor
    num_classes: int
    taught: torch.Tensor
    targets: torch.Tensor

    def probs(self, inputs: torch.Tensor) -> torch.Tensor:
        """Probabilities (N, K) float64 of vectors (N, d) or images (N, C, H, W) uint8."""
        return self._spread(torch.cat([logits.softmax(1) for logits, _ in self._seen(inputs)]))

    def opinion(self, inputs: torch.Tensor) -> torch.Tensor:
        """The mean of these and of the labels of the believed samples whose features are most alike: (N, K) float64."""
        found = []
        for logits, features in self._seen(inputs):
            probs = logits.softmax(1).double()
            if len(self.taught) > NEIGHBOURS:
                alike = nearest(F.normalize(features, dim=1), self.taught, NEIGHBOURS)[1]
                probs = (probs + neighbour_votes(alike, self.targets, len(self.classes))) / 2
            found.append(probs)
        return self._spread(torch.cat(found))

    def _seen(self, inputs: torch.Tensor):
        """Summed logits (B, C), and features (B, d) of the first network, batch by batch."""
        for part in inputs.split(AT_ONCE):
            scaled = normalise(part.to(self.mean.device), self.mean, self.std)
            with torch.no_grad():
                outputs = [network.eval()(scaled) for network in self.networks]
            yield sum(logits for logits, _ in outputs).cpu(), outputs[0][1].cpu()

    def _spread(self, probs: torch.Tensor) -> torch.Tensor:
        """Probabilities of the classes that are known (N, C) as those of all (N, K)."""
        spread = torch.zeros(len(probs), self.num_classes, dtype=torch.float64)
        spread[:, self.classes] = probs.double()
        return spread


def judge_config(dataset: Dataset, method: str, seed: int, length: int | None = None) -> TrainConfig:
    """The run of a judge: the method's `tuned` preset on labels as they are; `length` in epochs, or as needed."""
    config = TrainConfig(dataset=dataset.name, noise="given", method=method, seed=seed)
    usual, n = config.resolved(dataset), len(dataset.train_labels)
    batch = max(2, min(usual.batch_size, max(SMALLEST_BATCH, n // 16)))
    if dataset.holds_vectors and n >= LARGE:
        batch = min(LARGEST_BATCH, max(LARGE_BATCH, n // 150))
    if length is None:
        steps = max(1, n // batch)
        length = FEWEST_EPOCHS if dataset.holds_vectors else min(usual.epochs, MOST_UPDATES // steps)
        length = max(FEWEST_EPOCHS, length, -(-UPDATES // steps))
    return replace(config, batch_size=batch, epochs=length).resolved(dataset)


def train_judge(
    inputs: torch.Tensor,
    labels: torch.Tensor,
    num_classes: int,
    method: str,
    seed: int,
    length: int | None = None,
    on_epoch: Callable[[int, int], object] = lambda done, total: None,
    folder: Path | None = None,
    recipe: str = "own",
    one_unit: bool = False,
) -> Judge:
    """Train on labels (N,) in [0, K) of inputs: vectors (N, d), or images (N, C, H, W) uint8.

    Two classes occur at least. `length` in epochs, None = as needed. `on_epoch` hears of every epoch, how many of how
    many are done. `folder` is for a checkpoint, from which a judge that was stopped goes on. `recipe` is the name of a
    data set that is trained in the way that fits this one, see `nlcore.training.presets`. `one_unit`: the columns of
    vectors are scaled by one number for all, not each by its own, see `nlcore.audit.evidence.best_by_direction`.

    Raises
    ------
    InputError : a checkpoint of something else, a folder that cannot be written.
    DivergenceError : the loss became NaN or infinite.
    """
    classes, local = labels.unique(return_inverse=True)
    names = tuple(map(str, classes.tolist()))
    dataset = Dataset(recipe, inputs, local, inputs[:0], local[:0], names)
    config = judge_config(dataset, method, seed, length)
    with cpu_threads(config.threads):
        state = start(config, dataset, NoisyLabels(local, None, None, None, "given"))
        if one_unit:
            state.std = _one_scale(inputs, seed).to(state.std.device).expand_as(state.std)
        progress = (checkpoint.restore(folder, state, "given") if folder else None) or Progress([], 0.0)
        rows, kept = list(progress.history), time.monotonic()
        for epoch in epochs(state, done=len(rows)):
            rows.append(epoch.row)
            if folder and time.monotonic() - kept > KEEP_EVERY:
                checkpoint.save(folder, state, "given", Progress(rows, 0.0))
                kept = time.monotonic()
            on_epoch(len(rows), config.epochs)
        taught, targets = _believed(state)
    networks = tuple(learner.teacher.eval() for learner in state.learners)
    return Judge(networks, state.mean, state.std, classes, num_classes, taught, targets)


def _one_scale(vectors: torch.Tensor, seed: int) -> torch.Tensor:
    """The deviation of the columns of (N, d) as one number (), of some rows if many; columns that are constant have 0.

    One scale for all: what is small stays small.
    """
    deviation = vectors[some(len(vectors), VOTERS, seed)].float().std(0, correction=0)
    return deviation.square().mean().sqrt().clamp(min=1e-12)


def _believed(state: State) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit features and targets of the samples that the method gives a label in the end, some of them if many."""
    state.epoch = state.config.epochs  # all are over, also where a finished judge came back from its checkpoint
    snapshot = observe(state)
    division, _ = divide(state, snapshot)
    rows = division.labelled.nonzero().flatten()
    rows = rows[some(len(rows), VOTERS, state.config.seed).to(rows.device)]
    return F.normalize(snapshot.features[rows], dim=1).cpu(), division.target[rows].cpu()
