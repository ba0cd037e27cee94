"""What a run is. `TrainConfig` names it; `resolved()` fills every open choice in, and that is what a result stores.

A field left at None is filled from the preset and the dataset's recipe, so `dataclasses.replace(config,
preset="paper")` does what it says.
"""

import dataclasses
import re
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args, get_origin

from nlcore.errors import InputError, choose
from nlcore.methods import METHODS
from nlcore.mixmatch import PAPER_SSL, SSLConfig
from nlcore.networks import NETWORKS

PRESETS = ("tuned", "paper")
WITHOUT_RATE = ("human", "file", "given")  # noise that is as large as it is
SCHEDULES = ("cosine", "step")
PRECISIONS = ("float32", "bfloat16")

# What depends on the dataset. CIFAR values are the family's (DivideMix), apart from the network, which is sized for a
# CPU; digits values are ours. `warmup` is a share of all epochs, because what counts is the number of steps.
RECIPES: dict[str, dict[str, Any]] = {
    "digits": {"network": "digits_cnn", "epochs": 30, "warmup": 0.3, "batch_size": 32, "learning_rate": 0.05}
    | {"pad": 1, "flip": False, "precision": "float32", "threads": 1},
    "cifar10": {"network": "small", "epochs": 60, "warmup": 0.3, "batch_size": 64, "learning_rate": 0.02}
    | {"pad": 4, "flip": True, "precision": "bfloat16", "threads": 0},
    "cifar100": {"network": "small", "epochs": 60, "warmup": 0.3, "batch_size": 64, "learning_rate": 0.02}
    | {"pad": 4, "flip": True, "precision": "bfloat16", "threads": 0},
}
# As CIFAR until someone has measured better. DivideMix sees 1,000 batches of 32 balanced images an epoch of Clothing1M.
RECIPES["clothing1m"] = RECIPES["cifar10"] | {"balanced_images": 32_000}

# What the two presets mean outside a method's own config: see the notes in `TrainConfig`.
TRAINING_PRESETS: dict[str, dict[str, Any]] = {
    "tuned": {"ssl": SSLConfig(), "schedule": "cosine", "ema_decay": 0.99, "full_batches": True, "recalibrate": True},
    "paper": {"ssl": PAPER_SSL, "schedule": "step", "ema_decay": 0.0, "full_batches": False, "recalibrate": False},
}


def ssl_preset(method: str, preset: str) -> SSLConfig:
    """Semi-supervised training of a preset: `paper` has strong views for `tssd` and `anchor` (UNICON's way)."""
    ssl = TRAINING_PRESETS[preset]["ssl"]
    return replace(ssl, strong=True) if preset == "paper" and method in ("tssd", "anchor") else ssl


@dataclass(frozen=True)
class TrainConfig:
    """One run.

    Attributes
    ----------
    dataset, noise, rate, noise_options, seed : as in `load_dataset` and `corrupt`; the seed drives everything random.
        A noise that comes from a file has no nominal rate: `rate` becomes None.
    subset : train on so many images of the dataset, the same share of every class; None = all.
    balanced_images : every epoch draws so many images, equally many of every given label; 0 = all images, every epoch.
    method : `ce`, `dividemix`, `tssd` or `anchor`.
    preset : `tuned` (what our experiments recommend) or `paper` (the faithful reconstruction).
    epochs, warmup_epochs : all epochs, and those with plain cross-entropy before the first division.
    network, batch_size, learning_rate, momentum, weight_decay : of SGD with Nesterov momentum.
    schedule : `cosine` to zero, or `step`, divided by 10 at half time.
    ema_decay : of the average weights that divide, guess and are tested; 0 = the trained weights do it themselves.
    full_batches : batches never shrink and every epoch has as many; otherwise an epoch ends in whatever is left.
    recalibrate : measure batch-norm statistics on unmixed images before dividing and testing.
    pad, flip : of random views.
    precision : `float32`, or `bfloat16` for convolutions and matrix products.
    threads : CPU threads that `train` uses; 0 leaves torch's own number. Digits take one: two threads that wait for
        each other on a busy machine are slower than one, and one adds up in the same order on every machine.
    device : `cpu`, `cuda`, or `auto`.
    ssl : semi-supervised training.
    settings : the method's own config, e.g. `TSSDConfig`.
    """

    dataset: str = "digits"
    noise: str = "symmetric"
    rate: float | None = 0.4
    noise_options: dict[str, Any] = field(default_factory=dict)
    method: str = "tssd"
    preset: str = "tuned"
    seed: int = 0
    subset: int | None = None
    balanced_images: int | None = None
    epochs: int | None = None
    warmup_epochs: int | None = None
    network: str | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str | None = None
    ema_decay: float | None = None
    full_batches: bool | None = None
    recalibrate: bool | None = None
    pad: int | None = None
    flip: bool | None = None
    precision: str | None = None
    threads: int | None = None
    device: str = "auto"
    ssl: SSLConfig | None = None
    settings: Any = None

    def resolved(self) -> "TrainConfig":
        """The same run with every None filled in (except `subset`), and checked.

        Raises
        ------
        InputError : an unknown name or a value out of range.
        """
        choose("method", self.method, METHODS)
        choose("preset", self.preset, PRESETS)
        # An own dataset, passed to `train` under a name of its own, starts from the recipe of CIFAR.
        recipe = dict(RECIPES.get(self.dataset, RECIPES["cifar10"]))
        warmup = recipe.pop("warmup")
        defaults = {"balanced_images": 0} | recipe | TRAINING_PRESETS[self.preset]
        defaults["ssl"] = ssl_preset(self.method, self.preset)
        defaults["settings"] = METHODS[self.method].PRESETS[self.preset]
        config = replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})
        if config.warmup_epochs is None:
            config = replace(config, warmup_epochs=min(config.epochs - 1, round(warmup * config.epochs)))
        if config.noise.partition(":")[0] in WITHOUT_RATE:
            config = replace(config, rate=None)
        if config.method == "ce":  # nothing follows the warm-up
            config = replace(config, warmup_epochs=config.epochs)
        config._check()
        return config

    def _check(self) -> None:
        choose("network", self.network, NETWORKS)
        choose("schedule", self.schedule, SCHEDULES)
        choose("precision", self.precision, PRECISIONS)
        choose("device", self.device.partition(":")[0], ("auto", "cpu", "cuda"))
        choose("unlabelled_loss", self.ssl.unlabelled_loss, ("squared", "cross_entropy"))
        expected = type(METHODS[self.method].PRESETS["tuned"])
        if not isinstance(self.settings, expected):
            raise InputError(
                f"{self.method} needs settings of type {expected.__name__}, not {type(self.settings).__name__}"
            )
        lows = {"epochs": 1, "batch_size": 2, "pad": 0, "seed": 0, "threads": 0, "balanced_images": 0}
        for name, low in lows.items():
            if getattr(self, name) < low:
                raise InputError(f"{name} must be at least {low}, not {getattr(self, name)}")
        if self.method != "ce" and not 0 <= self.warmup_epochs < self.epochs:
            raise InputError(f"warmup_epochs must lie in [0, epochs): {self.warmup_epochs} of {self.epochs}")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay must lie in [0, 1), not {self.ema_decay}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be above 0, not {self.learning_rate}")
        if (getattr(self.settings, "meta", None) == "golden") != (getattr(self.settings, "golden", 0) > 0):
            raise InputError("a golden set needs both meta='golden' and golden > 0")

    def noise_words(self) -> str:
        """Noise and rate for the name of a file: `symmetric_0.4`, `human-worst`."""
        kind = re.sub(r"[^\w.-]", "-", self.noise)
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
    preset = choose("preset", config.preset, PRESETS)
    settings = config.settings or METHODS[choose("method", config.method, METHODS)].PRESETS[preset]
    ssl = config.ssl or ssl_preset(config.method, preset)
    homes = {"settings": settings, "ssl": ssl, "config": config}
    changes: dict[str, dict[str, Any]] = {home: {} for home in homes}
    for name, value in overrides.items():
        home = next((h for h, owner in homes.items() if name in {f.name for f in fields(owner)}), None)
        if home is None or name in ("ssl", "settings"):
            valid = sorted({f.name for owner in homes.values() for f in fields(owner)} - {"ssl", "settings"})
            raise InputError(f"unknown parameter {name!r}; choose one of: {', '.join(valid)}")
        expected = next(f.type for f in fields(homes[home]) if f.name == name)
        if not _is_a(value, expected):
            words = getattr(expected, "__name__", None) if isinstance(expected, type) else str(expected)
            raise InputError(f"{name} must be of type {words}, not {value!r}")
        changes[home][name] = value
    if changes["settings"]:
        changes["config"]["settings"] = replace(settings, **changes["settings"])
    if changes["ssl"]:
        changes["config"]["ssl"] = replace(ssl, **changes["ssl"])
    return replace(config, **changes["config"])


def _is_a(value: Any, annotation: Any) -> bool:
    """Whether a value fits a field's annotation: a whole number will do for a float, a bool only for a bool."""
    kinds = (get_origin(annotation),) if get_origin(annotation) is dict else get_args(annotation) or (annotation,)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)
