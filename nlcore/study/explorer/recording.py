"""What each method saw and decided in every epoch, kept sample by sample."""

import math
from dataclasses import dataclass, replace

import torch

from nlcore.basics.errors import InputError
from nlcore.data.datasets import Dataset
from nlcore.methods import labelled_sets, set_names
from nlcore.noise.labels import NoisyLabels
from nlcore.selection.division import Snapshot
from nlcore.selection.streams import class_margin, loss_stream
from nlcore.training.config import TrainConfig
from nlcore.training.kept import epochs
from nlcore.training.observe import observe
from nlcore.training.state import State, start

UNDIVIDED = -1  # the set of every sample while a method warms up
NOTHING = 255  # in the bytes of a page: no set, no probability, no class
LOW_LOSS = 1e-4  # smaller losses are drawn here: a logarithm has no end


@dataclass(frozen=True)
class Axis:
    """One direction of the map: its `label`, the values at its two ends, and the ticks (value -> text)."""

    label: str
    low: float
    high: float
    ticks: dict[float, str]


@dataclass(frozen=True)
class Track:
    """What one method saw and decided in E epochs about N samples, always when the epoch began.

    Attributes
    ----------
    set_names : names of the method's sets.
    labelled_sets : those whose samples are trained with a label.
    membership : (E, N) int64, the set of each sample; -1 during warm-up, when nothing is divided.
    clean_prob : (E, N) float32, how probable the given label is to the method; NaN during warm-up.
    target : (E, N) int64, the given or the corrected label.
    position : (E, N, 2) float32, across and up on the map.
    """

    set_names: tuple[str, ...]
    labelled_sets: tuple[str, ...]
    membership: torch.Tensor
    clean_prob: torch.Tensor
    target: torch.Tensor
    position: torch.Tensor

    @property
    def labelled(self) -> torch.Tensor:
        """Whether each sample is trained with a label, (E, N) bool. During warm-up all of them are."""
        trained = torch.tensor([name in self.labelled_sets for name in self.set_names] + [True])
        return trained[self.membership]  # -1, undivided, is the last entry

    def members(self, epoch: int, name: str) -> torch.Tensor:
        """Rows of the samples that are in a set in an epoch, counted from 1: (n,) int64."""
        return (self.membership[epoch - 1] == self.set_names.index(name)).nonzero().flatten()


@dataclass(frozen=True)
class Recording:
    """N samples and what every method made of them.

    Attributes
    ----------
    images : (N, C, H, W) uint8.
    given_labels : (N,) int64.
    true_labels : (N,) int64, or None where nobody knows them; -1 for an image of none of the classes.
    class_names : K names.
    index : (N,) int64, the number of each sample in the whole training set.
    axes : across and up.
    tracks : method -> `Track`; all of E epochs.
    """

    images: torch.Tensor
    given_labels: torch.Tensor
    true_labels: torch.Tensor | None
    class_names: tuple[str, ...]
    index: torch.Tensor
    axes: tuple[Axis, Axis]
    tracks: dict[str, Track]

    def __post_init__(self):
        lengths = {name: len(track.membership) for name, track in self.tracks.items()}
        if len(set(lengths.values())) != 1:
            words = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise InputError(f"an explorer needs methods with equally many epochs, not {words or 'no method'}")
        if len(self.class_names) > NOTHING:
            raise InputError(f"an explorer shows at most {NOTHING} classes, not {len(self.class_names)}")
        if self.images.shape[1] not in (1, 3):
            raise InputError(f"an explorer shows images of 1 or 3 channels, not {self.images.shape[1]}")

    @property
    def epochs(self) -> int:
        """E."""
        return len(next(iter(self.tracks.values())).membership)

    def take(self, rows: torch.Tensor) -> "Recording":
        """The record of some samples (n,), in that order; the axes stay."""
        tracks = {
            name: replace(
                track,
                **{part: getattr(track, part)[:, rows] for part in ("membership", "clean_prob", "target", "position")},
            )
            for name, track in self.tracks.items()
        }
        return replace(
            self,
            images=self.images[rows],
            given_labels=self.given_labels[rows],
            true_labels=None if self.true_labels is None else self.true_labels[rows],
            index=self.index[rows],
            tracks=tracks,
        )


def record(
    config: TrainConfig, dataset: Dataset, noisy: NoisyLabels, methods: tuple[str, ...] = ("tssd", "anchor")
) -> Recording:
    """Run the methods under the same configuration, which must not be resolved, and keep what each did every epoch.

    Across lies the loss of the given label, up the `class_margin`. Both come from the network as it was when the epoch
    began: it is what the epoch's division was made from.
    """
    tracks = {}
    for method in methods:
        resolved = replace(config, method=method).resolved()
        if resolved.balanced_images:
            raise InputError("an explorer needs the same images in every epoch: set balanced_images to 0")
        state = start(resolved, dataset, noisy)
        tracks[method] = _track(state)
    across, up = torch.cat([track.position.flatten(0, 1) for track in tracks.values()]).T
    return Recording(
        state.images.cpu(),
        state.given_labels.cpu(),
        None if state.true_labels is None else state.true_labels.cpu(),
        dataset.class_names,
        state.index.cpu(),
        (_loss_axis(across), _margin_axis(up)),
        tracks,
    )


def _track(state: State) -> Track:
    """One run from its fresh state to its end."""
    rows, seen, given = [], observe(state), state.given_labels
    for epoch in epochs(state):
        if epoch.division is None:
            undivided = torch.full_like(given, UNDIVIDED), torch.full_like(seen.losses, torch.nan), given
            rows.append((*undivided, loss_and_margin(seen, given)))
            seen = observe(state)  # at the end of this epoch, which is the beginning of the next
        else:
            decided = epoch.division.membership, epoch.division.clean_prob, epoch.division.target
            rows.append((*decided, loss_and_margin(epoch.snapshot, given)))
    name = state.config.method
    return Track(set_names(name), labelled_sets(name), *(torch.stack(parts).cpu() for parts in zip(*rows, strict=True)))


def loss_and_margin(snapshot: Snapshot, given_labels: torch.Tensor) -> torch.Tensor:
    """Where each sample lies on the map: log10 of its loss, and its margin to the next class's mean, (N, 2) float32."""
    num_classes = snapshot.logits.shape[1]
    weight = loss_stream(snapshot.losses, given_labels, num_classes, None)
    margin = class_margin(snapshot.features, given_labels, num_classes, weight)
    return torch.stack([snapshot.losses.clamp(min=LOW_LOSS).log10(), margin], 1)


def _loss_axis(values: torch.Tensor) -> Axis:
    low, high = _ends(values)
    decades = range(math.floor(low), math.ceil(high) + 1)
    ticks = {math.log10(f * 10.0**d): f"{f * 10.0**d:.6g}" for d in decades for f in (1, 3)}
    return Axis("loss of the given label", low, high, {at: text for at, text in ticks.items() if low <= at <= high})


def _margin_axis(values: torch.Tensor) -> Axis:
    low, high = _ends(values)
    step = 0.25 if high - low > 0.75 else 0.1 if high - low > 0.3 else 0.02
    ticks = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return Axis("margin of the given class", low, high, {at: f"{at:.6g}" for at in ticks})


def _ends(values: torch.Tensor) -> tuple[float, float]:
    """The smallest and the largest value, with a little room around them."""
    low, high = float(values.min()), float(values.max())
    room = 0.03 * max(high - low, 0.1)
    return low - room, high + room
