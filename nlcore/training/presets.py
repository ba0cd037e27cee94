"""Hyper-parameters by budget, method, dataset, noise and rate: one table, each row with its source.

A configuration fills what it leaves open from here: first the dataset's recipe, then its preset, then the rows of
`TABLE` that apply to it, and last what the method itself asks for; the later ones over the earlier ones. What was run
is stored in every result.
"""

from dataclasses import dataclass, replace
from typing import Any

from nlcore.methods import METHODS, brings
from nlcore.training.mixmatch import PAPER_SSL, SSLConfig

PRESETS = ("tuned", "paper")
BUDGETS = ("short", "long")

# What depends on the dataset, sized for a CPU. CIFAR values are the family's (DivideMix) apart from the network; digits
# and glyphs values are ours. `warmup` is a share of all epochs, because what counts is the number of steps.
RECIPES: dict[str, dict[str, Any]] = {
    "digits": {"network": "digits_small", "epochs": 30, "warmup": 0.3, "batch_size": 32, "learning_rate": 0.05}
    # Networks as small as this gain nothing from bfloat16, and in float32 a page has the same numbers on every machine.
    | {"pad": 1, "flip": False, "precision": "float32", "threads": 1},
    "cifar10": {"network": "small", "epochs": 60, "warmup": 0.3, "batch_size": 64, "learning_rate": 0.02}
    | {"pad": 4, "flip": True, "precision": "auto", "threads": 0},
    "cifar100": {"network": "small", "epochs": 60, "warmup": 0.3, "batch_size": 64, "learning_rate": 0.02}
    | {"pad": 4, "flip": True, "precision": "auto", "threads": 0},
}
# Narrow layers and larger batches: thirty epochs take a quarter longer than those of digits with `digits_cnn`.
RECIPES["glyphs"] = RECIPES["digits"] | {"network": "glyphs_small", "batch_size": 64}
# Vectors of any origin: one hidden layer learns in a dozen epochs.
RECIPES["vectors"] = {"network": "mlp", "epochs": 12, "warmup": 0.25, "batch_size": 128, "learning_rate": 0.05}
RECIPES["vectors"] |= {"pad": 0, "flip": False, "precision": "auto", "threads": 0}
# As CIFAR until someone has measured better. DivideMix sees 1,000 batches of 32 balanced images an epoch of Clothing1M.
RECIPES["clothing1m"] = RECIPES["cifar10"] | {"balanced_images": 32_000}

# What the two presets mean outside a method's own config: see the notes in `TrainConfig`.
TRAINING_PRESETS: dict[str, dict[str, Any]] = {
    "tuned": {"schedule": "cosine", "ema_decay": 0.99, "full_batches": True, "recalibrate": True},
    "paper": {"schedule": "step", "ema_decay": 0.0, "full_batches": False, "recalibrate": False},
}


@dataclass(frozen=True)
class Row:
    """Values for the configurations that fit; a condition left at None fits all. `rates` is [low, high), `divides` fits
    the methods that divide."""

    values: dict[str, Any]
    source: str
    budget: str | None = None
    preset: str | None = None
    divides: bool = False
    dataset: str | None = None
    network: str | None = None
    noise: str | None = None
    rates: tuple[float, float] | None = None

    def fits(self, config) -> bool:
        """Whether a configuration meets every condition; `config.rate` None is no rate."""
        return (
            self.budget in (None, config.budget)
            and self.preset in (None, config.preset)
            and (not self.divides or brings(config.method, "divide"))
            and self.dataset in (None, config.dataset)
            and self.network in (None, config.network)
            and self.noise in (None, config.noise.partition(":")[0])
            and (self.rates is None or (config.rate is not None and self.rates[0] <= config.rate < self.rates[1]))
        )


FAMILY = "DivideMix (ICLR 2020), section 4.2 and public code"
LAMBDA = "DivideMix: its lambda_u for each noise and rate, as the family copies it"
OURS = "our choice"

TABLE = (
    # -- length and network of the papers' protocol
    Row({"network": "preact_resnet18"}, FAMILY, budget="short"),
    Row({"epochs": 60, "warmup_epochs": 10}, "our short schedule: a fifth of the papers' length", budget="short"),
    Row({"warmup_epochs": 15}, "our short schedule: CIFAR-100 warms up longer", budget="short", dataset="cifar100"),
    Row({"network": "preact_resnet18", "epochs": 300, "warmup_epochs": 10}, FAMILY, budget="long"),
    Row({"warmup_epochs": 30}, FAMILY, budget="long", dataset="cifar100"),
    Row({"learning_rate": 0.01}, "the family's Tiny-ImageNet runs (0.005 to 0.01)", dataset="tiny_imagenet"),
    *(
        Row(
            {"network": "resnet50", "pretrained": True, "epochs": 80, "warmup_epochs": 1, "batch_size": 32}
            | {"learning_rate": 0.002, "weight_decay": 1e-3},
            "DivideMix's Clothing1M runs",
            budget=budget,
            dataset="clothing1m",
        )
        for budget in BUDGETS
    ),
    Row(
        {"learning_rate": 0.01},
        "our choice: without a hidden layer 0.05 stays too far from the minimum",
        network="linear",
    ),
    Row(
        {"epochs": 12, "batch_size": 128, "learning_rate": 0.1, "schedule": "one_cycle"},
        "our choice: clean labels of CIFAR-10 are learnt to 90 % and more in twenty minutes of one core",
        network="whitened",
    ),
    # The memory of the average weights in epochs, not steps: 50,000 images make five times the steps of 10,000.
    *(Row({"ema_decay": 0.998}, OURS, budget=budget, preset="tuned") for budget in BUDGETS),
    # -- what the noise asks for
    Row({"confidence_penalty": 1.0}, FAMILY, divides=True, noise="asymmetric"),
    Row({"loss_history": 5}, FAMILY, divides=True, rates=(0.9, 1.0)),
    Row({"loss_history": 1}, "other images in every epoch have no history", dataset="clothing1m"),
    # -- semi-supervised training of the `paper` preset
    Row({"lam_u": 0.0}, LAMBDA, preset="paper", dataset="cifar10", noise="symmetric", rates=(0.0, 0.35)),
    Row({"lam_u": 25.0}, LAMBDA, preset="paper", dataset="cifar10", noise="symmetric", rates=(0.35, 0.85)),
    Row({"lam_u": 50.0}, LAMBDA, preset="paper", dataset="cifar10", noise="symmetric", rates=(0.85, 1.0)),
    Row({"lam_u": 0.0}, LAMBDA, preset="paper", dataset="cifar10", noise="asymmetric"),
    Row({"lam_u": 25.0}, LAMBDA, preset="paper", dataset="cifar100", noise="symmetric", rates=(0.0, 0.35)),
    Row({"lam_u": 150.0}, LAMBDA, preset="paper", dataset="cifar100", noise="symmetric", rates=(0.35, 1.0)),
    Row({"lam_u": 30.0}, "the family's Tiny-ImageNet runs (30 to 50)", preset="paper", dataset="tiny_imagenet"),
    Row({"lam_u": 0.0, "alpha": 0.5}, "DivideMix's Clothing1M runs", preset="paper", dataset="clothing1m"),
)


def defaults(config, vectors: bool = False) -> tuple[dict[str, Any], SSLConfig, Any]:
    """What a configuration leaves open: values of its fields by name, its semi-supervised training, and the method's
    settings.

    One name is not of the configuration: `warmup`, a share of all epochs, for runs whose length no budget sets. An own
    dataset, under a name of its own, starts from the recipe of CIFAR, or from that of `vectors`.
    """
    values = {"balanced_images": 0, "confidence_penalty": 0.0, "loss_history": 1, "weight_decay": 5e-4, "networks": 1}
    values |= {"pretrained": False} | RECIPES.get(config.dataset, RECIPES["vectors" if vectors else "cifar10"])
    values |= TRAINING_PRESETS[config.preset]
    ssl = {"tuned": SSLConfig(), "paper": PAPER_SSL}[config.preset]
    settings = METHODS[config.method].PRESETS[config.preset]
    for row, _ in sources(config):
        in_ssl = {name: value for name, value in row.items() if hasattr(ssl, name)}
        in_settings = {name: value for name, value in row.items() if hasattr(settings, name)}
        ssl, settings = replace(ssl, **in_ssl), replace(settings, **in_settings)
        if "warmup" in row:  # a share in place of a number of epochs
            values.pop("warmup_epochs", None)
        values |= {name: value for name, value in row.items() if name not in in_ssl | in_settings}
    return values, ssl, settings


def sources(config) -> list[tuple[dict[str, Any], str]]:
    """The rows that apply to a configuration, in order: their values and where these come from."""
    rows = [(row.values, row.source) for row in TABLE if row.fits(config)]
    if not brings(config.method, "divide"):  # such a method warms up only if it says so itself
        rows.append(({"warmup": 0.0}, OURS))
    recipe = getattr(METHODS[config.method], "recipe", None)
    return [*rows, *(recipe(config) if recipe else ())]
