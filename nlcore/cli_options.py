"""Options that several commands of the command line share, and what they say of themselves in `--help`."""

from typing import Annotated, Any

import typer

from nlcore.basics.arguments import plain_value
from nlcore.basics.errors import InputError
from nlcore.data.datasets import DATASETS
from nlcore.data.own import IMAGE_SIZE, PREFIX
from nlcore.data.tables import LABEL_COLUMNS
from nlcore.noise.corrupt import NOISE_NAMES, WITHOUT_RATE
from nlcore.training.config import TrainConfig

USUAL = ", ".join(name for name in LABEL_COLUMNS if "_" not in name)
DatasetName = Annotated[
    str,
    typer.Option(
        "--dataset",
        help=f"{', '.join(DATASETS)}; own data: {PREFIX}FOLDER, {PREFIX}TABLE, {PREFIX}FILE.npz, {PREFIX}FILE.npy.",
    ),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", help=f"Of own image files: side in pixels; default {IMAGE_SIZE}.")
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help=f"Of a table: its labels; default: the one called {USUAL} ...")
]
TextColumn = Annotated[
    str | None,
    typer.Option("--text-column", help="Of a table: a text to learn from; default: all columns of numbers."),
]
ImageColumn = Annotated[
    str | None,
    typer.Option("--image-column", help="Of a table: names of image files to learn from, as seen from its folder."),
]
TestData = Annotated[
    str | None,
    typer.Option("--test", help="Test set of own data: a path without path:, or a share to split off, e.g. 0.2."),
]
NoiseName = Annotated[
    str | None,
    typer.Option("--noise", help=f"{', '.join(NOISE_NAMES)}; default: given for own data, else symmetric."),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        help=f"Nominal noise rate, in [0, 1), default {TrainConfig.rate}; none for {', '.join(WITHOUT_RATE)}.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Subset = Annotated[int | None, typer.Option("--subset", help="Use so many training samples only.")]
NoiseOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--noise-option", metavar="KEY=VALUE", help="E.g. include_true=false; soft=true for annotators. Repeatable."
    ),
]
TimeBudget = Annotated[
    float | None, typer.Option("--time-budget", metavar="SECONDS", help="Stop after the last epoch that fits.")
]


def nominal_rate(dataset: str, noise: str | None, rate: float | None) -> float:
    """The rate that was asked for, or the usual one; an `InputError` where labels are as wrong as they are."""
    usual = TrainConfig(dataset=dataset, noise=noise)
    kind = usual.noise.partition(":")[0]
    if rate is not None and kind in WITHOUT_RATE:
        raise InputError(
            f"--rate {rate:g}: the noise {kind!r} is as large as it is; leave the rate out, or say --noise"
        )
    return usual.rate if rate is None else rate


def data_options(test: str | None = None, **others: str | int | None) -> dict[str, Any]:
    """The options of own data that were given; a test set in numbers is a share."""
    share = None if test is None else plain_value(test)
    number = isinstance(share, int | float) and not isinstance(share, bool)
    values = others | {"test": share if number else test}
    return {name: value for name, value in values.items() if value is not None}
