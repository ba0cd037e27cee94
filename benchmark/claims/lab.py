"""The runs that the claims look at, each made once in a process however many claims ask for it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from nlcore.basics.chance import stream
from nlcore.data.datasets import Dataset, load_dataset
from nlcore.results.grids import read_grid
from nlcore.selection.division import Snapshot
from nlcore.training.config import TrainConfig
from nlcore.training.engine import Epoch, run
from nlcore.training.epoch import ssl_epoch, warmup_epoch
from nlcore.training.observe import observe
from nlcore.training.result import Result
from nlcore.training.run import prepare, train
from nlcore.training.state import State, start

Numbers = dict[str, dict[str, float | None]]  # condition -> name -> number
RESULTS = Path(__file__).parents[2] / "results"

ARENA = Path(__file__).parents[1] / "arena.yml"

# Cells of the arena, with the recipes of their data. Letters that are hard by construction: 9 epochs of warm-up and 21
# that divide.
GLYPHS = TrainConfig(dataset="glyphs", threads=1, device="cpu")
# Photographs as a pretrained network sees them: 3 epochs of warm-up and 9 that divide.
FEATURES = TrainConfig(dataset="cifar10_features", subset=20_000, threads=1, device="cpu")
WHERE = {"glyphs": "glyphs", "cifar10_features": "CIFAR-10 features", "cifar100_features": "CIFAR-100 features"}
# The same nominal rate; symmetric noise never redraws the true label, so that its realised rate is that of idn_xia.
NOISES: dict[str, dict[str, Any]] = {
    "symmetric": {"noise": "symmetric", "rate": 0.4, "noise_options": {"include_true": False}},
    "idn_xia": {"noise": "idn_xia", "rate": 0.4},
    "asymmetric": {"noise": "asymmetric", "rate": 0.4},
}
CLEAN: dict[str, Any] = {"noise": "symmetric", "rate": 0.0}


@dataclass(frozen=True)
class Warm:
    """A network after its warm-up, and what it saw of the training images after each of its epochs.

    `predictions` has one (N,) int64 an epoch; `snapshot` is the last epoch's.
    """

    state: State
    snapshot: Snapshot
    predictions: list[torch.Tensor]
    test_accuracy: float

    @property
    def given(self) -> torch.Tensor:
        return self.state.given_labels

    @property
    def true(self) -> torch.Tensor:
        return self.state.true_labels

    @property
    def right(self) -> torch.Tensor:
        """Which given labels are right, (N,) bool."""
        return self.given == self.true

    @property
    def classify(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return self.state.teacher.classify

    @property
    def num_classes(self) -> int:
        return self.state.num_classes


@dataclass(frozen=True)
class Trained:
    """A finished run, with the first of its epochs that gave a sample another label and the last that divided.

    Both are None where there is no such epoch.
    """

    result: Result
    correcting: Epoch | None
    last: Epoch | None


class Lab:
    """Makes runs and remembers them. `changes` replaces fields of every configuration, for tests at toy size.

    `used` lists what has been asked for since it was last emptied: configurations, by the fields that differ from
    their defaults, and whose stored results. So each row can say what its numbers come from.
    """

    def __init__(self, results: Path = RESULTS, **changes: Any):
        self.results, self.changes = results, changes
        self.used: list[Any] = []
        self._kept: dict[str, Any] = {}

    def _once(self, purpose: str, config: TrainConfig, make: Callable[[TrainConfig], Any], **note: Any) -> Any:
        config = replace(config, **self.changes)
        said = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in ("seed", "settings", "ssl")}
        said = {name: value for name, value in said.items() if value != getattr(TrainConfig(), name)}
        if config.settings is not None:
            default = type(config.settings)()
            said["settings"] = {k: v for k, v in vars(config.settings).items() if v != getattr(default, k)}
        said = {"run": purpose} | note | said
        if said not in self.used:
            self.used.append(said)
        key = f"{purpose} {note} {config}"
        if key not in self._kept:
            self._kept[key] = make(config)
        return self._kept[key]

    def warm(self, config: TrainConfig, change: Callable[[Dataset, int], Dataset] | None = None) -> Warm:
        """The state after warm-up; `change(dataset, seed)` alters the data first and goes by its name."""

        def make(config: TrainConfig) -> Warm:
            config = config.resolved()
            if change is None:
                dataset, noisy = prepare(config)
            else:  # the subset is drawn before the change
                dataset, noisy = prepare(replace(config, subset=None), change(_subset(config), config.seed))
            predictions = []
            for epoch in islice(run(config, dataset, noisy), config.warmup_epochs):
                snapshot = observe(epoch.state)
                predictions.append(snapshot.logits.argmax(1))
            return Warm(epoch.state, snapshot, predictions, epoch.row["test_accuracy"])

        return self._once("warm-up", config, make, **({"data": change.__name__} if change else {}))

    def resolved(self, config: TrainConfig) -> TrainConfig:
        """A configuration with the lab's changes, filled in."""
        return replace(config, **self.changes).resolved()

    def untrained(self, config: TrainConfig) -> Warm:
        """The state before the first step."""

        def make(config: TrainConfig) -> Warm:
            config = config.resolved()
            state = start(config, *prepare(config))
            return Warm(state, observe(state), [], 0.0)

        return self._once("untrained", config, make)

    def train(self, config: TrainConfig, name: str = "training", trainer: Callable[..., Result] = train) -> Trained:
        """A whole run. Another `trainer` needs a `name` of its own."""

        def make(config: TrainConfig) -> Trained:
            kept: dict[str, Epoch] = {}

            def remember(epoch: Epoch) -> None:
                if epoch.division is not None:
                    kept["last"] = epoch
                    if (epoch.division.target != epoch.state.given_labels).any():
                        kept.setdefault("correcting", epoch)

            result = trainer(config, on_epoch=remember)
            return Trained(result, kept.get("correcting"), kept.get("last"))

        return self._once(name, config, make)

    def arena(self, seed: int, methods: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Condition -> method -> accuracy in the last epoch, in per cent, of the arena's stored cells with this seed.

        Results of other presets than today's are not read: a name ends in a digest of its configuration.
        """
        found: dict[str, dict[str, float]] = {}
        for name, config in arena_cells().items():
            path = self.results / "arena" / f"{name}.json"
            if config.seed == seed and config.method in methods and path.exists():
                last = json.loads(path.read_text(encoding="utf-8"))["last"]
                found.setdefault(condition(config), {})[config.method] = last
        self.used += [said for said in ({"stored": "arena", "methods": list(methods)},) if said not in self.used]
        return found


@cache
def arena_cells() -> dict[str, TrainConfig]:
    """The arena's cells of 20,000 samples, or of all glyphs, of one network and without a hold-out, by their names."""
    cells = read_grid(ARENA)
    sizes = {"glyphs": None, "cifar10_features": 20_000, "cifar100_features": 20_000}
    return {
        name: config
        for name, config in cells.items()
        if config.subset == sizes[config.dataset] and not config.holdout and config.networks == 1
    }


def condition(config: TrainConfig) -> str:
    """Data and noise of a cell in words: `glyphs, symmetric 20 %`, `CIFAR-10 features, people, worst`."""
    kind, _, which = config.noise.partition(":")
    if kind == "human":
        noise = f"people, {which}"
    elif kind == "file":
        noise = "CAL's file, 40 %"
    else:
        noise = f"{kind} {100 * config.rate:g} %"
    return f"{WHERE[config.dataset]}, {noise}"


def epoch_seconds(state: State, module, warm: Warm, repeats: int = 3) -> float:
    """CPU seconds of one epoch: median of a few. A method divides the shared snapshot, then trains on it."""
    taken = []
    for _ in range(repeats):
        started = time.process_time()
        if module is None:
            warmup_epoch(state)
        else:
            observe(state)
            settings, chance = state.config.settings, state.generator
            division, _ = module.divide(warm.snapshot, warm.given, None, settings, {}, chance)
            ssl_epoch(state, division)
        taken.append(time.process_time() - started)
    return float(np.median(taken))


def _subset(config: TrainConfig) -> Dataset:
    dataset = load_dataset(config.dataset)
    return dataset if config.subset is None else dataset.subset(config.subset)


def generator(seed: int, purpose: str) -> torch.Generator:
    """Chance of its own for each claim: its numbers do not depend on which claims ran before."""
    return torch.Generator().manual_seed(stream(seed, purpose))


def cells(base: TrainConfig, seed: int, **noises: dict[str, Any]) -> dict[str, TrainConfig]:
    """Condition -> configuration of a base for each noise (all of `NOISES` by default): `glyphs, idn_xia`."""
    where = WHERE[base.dataset]
    return {f"{where}, {name}": replace(base, seed=seed, **noise) for name, noise in (noises or NOISES).items()}


def percent(part: torch.Tensor) -> float | None:
    """Share of True, or mean, of a tensor (N,) in per cent; None of an empty one."""
    return 100 * float(part.double().mean()) if len(part) else None


def long_tail(ratio: float) -> Callable[[Dataset, int], Dataset]:
    """A change of data: class sizes fall geometrically by `ratio` from the first to the last, in an order of the
    seed's."""

    def change(dataset: Dataset, seed: int) -> Dataset:
        order = torch.randperm(dataset.num_classes, generator=generator(seed, "long tail"))
        keep = []
        for place, c in enumerate(order.tolist()):
            rows = (dataset.train_labels == c).nonzero().flatten()
            share = ratio ** (-place / (dataset.num_classes - 1))
            keep.append(rows[: max(1, round(share * len(rows)))])
        return dataset.rows(torch.cat(keep).sort().values)

    change.__name__ = f"long tail, ratio {ratio:g}"
    return change


def half_blurred(dataset: Dataset, seed: int) -> Dataset:
    """A change of data: every other image, by chance, is averaged twice over 3 x 3 pixels."""
    images = dataset.train_images.clone()
    chosen = blurred_rows(len(images), seed)
    soft = images[chosen].float()
    for _ in range(2):
        soft = F.avg_pool2d(F.pad(soft, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images[chosen] = soft.round().to(torch.uint8)
    return replace(dataset, train_images=images, statistics=None)


def blurred_rows(n: int, seed: int) -> torch.Tensor:
    """The rows that `half_blurred` blurs, (n // 2,) int64."""
    return torch.randperm(n, generator=generator(seed, "blurred"))[: n // 2]
