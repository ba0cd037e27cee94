"""What a run is. `TrainConfig` names it; `resolved()` fills every open choice in, and that is what a result stores.

A field left at None is filled from the preset and the dataset's recipe, so `dataclasses.replace(config,
preset="paper")` does what it says.
"""

import dataclasses
import re
from dataclasses import dataclass, field, fields, replace
from typing import Any

from nlcore.basics.chance import SEEDS
from nlcore.basics.errors import InputError, choose
from nlcore.basics.files import in_file_name
from nlcore.basics.machine import PRECISIONS
from nlcore.basics.ranges import Range, check_fields, check_type, plain, plain_fields, within
from nlcore.data.datasets import FEATURE_SETS, Dataset
from nlcore.data.own import PREFIX, holds_vectors, own_options
from nlcore.methods import METHODS, brings
from nlcore.noise.corrupt import RATES, WITHOUT_RATE, check_noise
from nlcore.training.mixmatch import SSLConfig
from nlcore.training.networks import NETWORKS
from nlcore.training.presets import BUDGETS, PRESETS, defaults

SCHEDULES = ("cosine", "step", "one_cycle")


@dataclass(frozen=True)
class TrainConfig:
    """One run.

    Attributes
    ----------
    dataset, data_options, noise, rate, noise_options, seed : as in `load_dataset` and `corrupt`; the seed drives
        everything random. A dataset that is handed over brings its own name, see `on`. A noise that comes from a file
        has no nominal rate: `rate` becomes None. Without a `noise`, own data by path keep their labels (`given`), and
        others get `symmetric` noise.
    subset : train on so many images of the dataset, the same share of every class; None = all.
    balanced_images : every epoch draws so many images, equally many of every given label; 0 = all images, every epoch.
    method : a name of `nlcore.methods.METHODS`, e.g. `tssd`.
    preset : `tuned` (what our experiments recommend) or `paper` (the faithful reconstruction).
    budget : None, the dataset's recipe, sized for a CPU; `long`, the papers' network and length; `short`, the same
        network for a fifth of it.
    networks : 1, or 2 that divide for each other, guess together and are tested on their summed logits; None, what the
        method needs, usually 1.
    holdout : share of the noisy training data to set aside; the epoch with the highest accuracy on its given labels is
        the fair choice of an epoch (`Result.fair`).
    epochs, warmup_epochs : all epochs, and those with plain cross-entropy before the first division.
    network : see `nlcore.training.networks`; `pretrained` starts from ImageNet weights.
    batch_size, learning_rate, momentum, weight_decay : of SGD with Nesterov momentum.
    schedule : `cosine` to zero, `step`, divided by 10 at half time, or `one_cycle`, up for a quarter of the time and
        down to zero.
    confidence_penalty : weight of the negative entropy in the warm-up loss.
    loss_history : divide by the mean loss of so many epochs; losses are scaled to [0, 1] before.
    ema_decay : of the average weights that divide, guess and are tested; 0 = the trained weights do it themselves.
    full_batches : batches never shrink and every epoch has as many; otherwise an epoch ends in whatever is left.
    recalibrate : measure batch-norm statistics on unmixed images before dividing and testing.
    pad, flip : of random views.
    precision : of convolutions and matrix products. `auto` is `bfloat16` on a device that has instructions for it,
        else `float32`; a result says which of the two it was. On a GPU the convolutions of `float32` take TF32, whose
        products have ten bits, because that is torch's default; `torch.backends.cudnn.allow_tf32 = False` forbids it.
    compile : let `torch.compile` make the student faster; takes a minute at the start and moves the last digits.
    threads : CPU threads that `train` uses, cut to the cores of the machine; 0 leaves torch's own number. Digits take
        one: two threads that wait for each other on a busy machine are slower than one, and one adds up in the same
        order on every machine.
    device : `cpu`, `cuda` or `cuda:1`, or `auto`. The same run has the same numbers again on a CPU; on a GPU they
        differ in the last digits, because sums of atomic additions and cuDNN's gradients have no fixed order.
    ssl : semi-supervised training.
    settings : the method's own config, e.g. `TSSDConfig`.
    """

    dataset: str = "digits"
    data_options: dict[str, Any] = field(default_factory=dict)
    noise: str | None = None
    rate: float | None = within(0.4, RATES)
    noise_options: dict[str, Any] = field(default_factory=dict)
    method: str = "tssd"
    preset: str = "tuned"
    budget: str | None = None
    networks: int | None = within(None, Range(1, 2))
    seed: int = within(0, SEEDS)
    holdout: float = within(0.0, Range(0, below=1))
    subset: int | None = within(None, Range(1))
    balanced_images: int | None = within(None, Range(0))
    epochs: int | None = within(None, Range(1))
    warmup_epochs: int | None = within(None, Range(0))
    network: str | None = None
    pretrained: bool | None = None
    batch_size: int | None = within(None, Range(2))
    learning_rate: float | None = within(None, Range(above=0))
    momentum: float = within(0.9, Range(0, below=1))
    weight_decay: float | None = within(None, Range(0))
    schedule: str | None = None
    confidence_penalty: float | None = within(None, Range(0))
    loss_history: int | None = within(None, Range(1))
    ema_decay: float | None = within(None, Range(0, below=1))
    full_batches: bool | None = None
    recalibrate: bool | None = None
    pad: int | None = within(None, Range(0))
    flip: bool | None = None
    precision: str | None = None
    compile: bool = False
    threads: int | None = within(None, Range(0))
    device: str = "auto"
    ssl: SSLConfig | None = None
    settings: Any = None

    def __post_init__(self):
        if self.noise is None:
            object.__setattr__(self, "noise", "given" if str(self.dataset).startswith(PREFIX) else "symmetric")

    def resolved(self, dataset: Dataset | None = None) -> "TrainConfig":
        """The same run with every None filled in (except `subset`), and checked.

        A `dataset` that is handed over brings its name, and whether it holds images or vectors chooses its recipe.

        Raises
        ------
        InputError : an unknown name or a value out of range.
        """
        check_fields(self)
        choose("method", self.method, METHODS)
        choose("preset", self.preset, PRESETS)
        config = plain_fields(self if dataset is None else self.on(dataset.name))
        if config.noise.partition(":")[0] in WITHOUT_RATE:
            config = replace(config, rate=None)
        check_noise(config.noise, config.rate, config.noise_options)
        values, ssl, settings = defaults(config, config._on_vectors(dataset))
        values |= {"ssl": ssl, "settings": settings}
        warmup = values.pop("warmup")
        if config.epochs not in (None, values["epochs"]):  # a length of one's own: the budget's warm-up does not fit it
            values.pop("warmup_epochs", None)
        config = replace(config, **{name: value for name, value in values.items() if getattr(self, name) is None})
        if config.warmup_epochs is None:
            config = replace(config, warmup_epochs=min(config.epochs - 1, round(warmup * config.epochs)))
        if not brings(config.method, "divide", "batch_loss", "own_epoch"):  # nothing follows the warm-up
            config = replace(config, warmup_epochs=config.epochs)
        config._check()
        return config

    def on(self, dataset: str) -> "TrainConfig":
        """The same run on a dataset of this name, for one that is handed over rather than loaded.

        What is left open is filled from the name, so a configuration that is still open takes it.

        Raises
        ------
        InputError : it is filled in already, for a dataset of another name.
        """
        if dataset == self.dataset:
            return self
        if self.ssl is not None or self.settings is not None:
            raise InputError(
                f"this configuration is filled in for the dataset {self.dataset!r} and is used with {dataset!r}; "
                f"begin with TrainConfig(dataset={dataset!r})"
            )
        return replace(self, dataset=dataset)

    def _on_vectors(self, dataset: Dataset | None) -> bool:
        """Whether the data are vectors: a dataset that is handed over says so, or its name, or the path of own data."""
        if dataset is not None:
            return dataset.holds_vectors
        if not self.dataset.startswith(PREFIX):
            return self.dataset in FEATURE_SETS
        return holds_vectors(self.dataset.removeprefix(PREFIX), own_options(self.data_options))

    def _check(self) -> None:
        if self.budget is not None:
            choose("budget", self.budget, BUDGETS)
        choose("network", self.network, NETWORKS)
        choose("schedule", self.schedule, SCHEDULES)
        choose("precision", self.precision, PRECISIONS)
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise InputError(f"unknown device {self.device!r}; choose one of: auto, cpu, cuda, cuda:NUMBER")
        choose("unlabelled_loss", self.ssl.unlabelled_loss, ("squared", "cross_entropy"))
        expected = type(METHODS[self.method].PRESETS["tuned"])
        if not isinstance(self.settings, expected):
            raise InputError(
                f"{self.method} needs settings of type {expected.__name__}, not {type(self.settings).__name__}"
            )
        for part in (self, self.ssl, self.settings):
            check_fields(part)
        something_follows = brings(self.method, "divide", "batch_loss", "own_epoch")
        if something_follows and self.warmup_epochs >= self.epochs:
            raise InputError(f"warmup_epochs must lie in [0, epochs): {self.warmup_epochs} of {self.epochs}")
        if self.loss_history > 1 and self.balanced_images:
            raise InputError("loss_history needs the same images in every epoch: set balanced_images to 0")
        if (getattr(self.settings, "meta", None) == "golden") != (getattr(self.settings, "golden", 0) > 0):
            raise InputError("a golden set needs both meta='golden' and golden > 0")

    def noise_words(self) -> str:
        """Noise and rate for the name of a file: `symmetric_0.4`, `human-worst`."""
        kind = in_file_name(self.noise)
        return kind if self.rate is None else f"{kind}_{self.rate:.10g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """The inverse of `to_dict`."""
        values = dict(values)
        if values.get("ssl") is not None:
            values["ssl"] = SSLConfig(**values["ssl"])
        if values.get("settings") is not None:
            values["settings"] = type(METHODS[values["method"]].PRESETS["tuned"])(**values["settings"])
        return cls(**values)


def with_overrides(config: TrainConfig, overrides: dict[str, Any]) -> TrainConfig:
    """Set fields by name, wherever they live: in the method's settings, in `ssl` or in the config itself.

    Raises
    ------
    InputError : a name that none of the three has, or a value of the wrong type.
    """
    method = choose("method", overrides.get("method", config.method), METHODS)
    kinds = {"settings": type(METHODS[method].PRESETS["tuned"]), "ssl": SSLConfig, "config": TrainConfig}
    homes = {home: {f.name: f.type for f in fields(kind)} for home, kind in kinds.items()}
    changes: dict[str, dict[str, Any]] = {home: {} for home in homes}
    for name, value in plain(overrides).items():
        home = next((home for home in homes if name in homes[home]), None)
        if home is None or name in ("ssl", "settings"):
            if owners := [other for other, brought in METHODS.items() if hasattr(brought.PRESETS["tuned"], name)]:
                raise InputError(f"{name} is a setting of {', '.join(owners)}, not of {method}")
            valid = sorted({name for names in homes.values() for name in names} - {"ssl", "settings"})
            raise InputError(f"unknown parameter {name!r}; choose one of: {', '.join(valid)}")
        check_type(name, value, homes[home][name])
        changes[home][name] = value
    config = replace(config, **changes["config"])
    if changes["settings"]:
        choose("preset", config.preset, PRESETS)
        settings = config.settings or defaults(config)[2]
        config = replace(config, settings=replace(settings, **changes["settings"]))
    if changes["ssl"]:
        choose("preset", config.preset, PRESETS)
        config = replace(config, ssl=replace(config.ssl or defaults(config)[1], **changes["ssl"]))
    return config
