"""The command line: `nlcore train` and `nlcore noise`, also as `python -m nlcore`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from nlcore import __version__
from nlcore.config import PRESETS, TrainConfig, with_overrides
from nlcore.corruption import NOISE_NAMES, corrupt
from nlcore.datasets import DATASETS, Dataset, load_dataset
from nlcore.errors import DivergenceError, InputError
from nlcore.files import write_atomically
from nlcore.labels import NoisyLabels
from nlcore.methods import METHODS
from nlcore.results import check_output_folder
from nlcore.training import train

app = typer.Typer(
    help="Learning with noisy labels: TSSD, Anchor Hallucination and their baselines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DatasetName = Annotated[str, typer.Option("--dataset", help=f"{', '.join(DATASETS)}.")]
NoiseName = Annotated[str, typer.Option("--noise", help=f"{', '.join(NOISE_NAMES)}.")]
Rate = Annotated[float, typer.Option("--rate", help="Nominal noise rate, in [0, 1); none for human, file, given.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Subset = Annotated[int | None, typer.Option("--subset", help="Use so many training images only.")]
NoiseOptions = Annotated[
    list[str] | None, typer.Option("--noise-option", metavar="KEY=VALUE", help="E.g. include_true=false. Repeatable.")
]


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if show:
        print(__version__)
        raise typer.Exit


@app.command("train")
def train_command(
    out: Annotated[Path, typer.Option("--out", help="Folder for result.json and samples.csv.")],
    dataset: DatasetName = "digits",
    noise: NoiseName = "symmetric",
    rate: Rate = 0.4,
    method: Annotated[str, typer.Option(help=f"{', '.join(METHODS)}.")] = "tssd",
    preset: Annotated[str, typer.Option(help=f"{', '.join(PRESETS)}.")] = "tuned",
    seed: Seed = 0,
    epochs: Annotated[
        int | None, typer.Option(help="All epochs, warm-up included; default: the dataset's recipe.")
    ] = None,
    warmup_epochs: Annotated[int | None, typer.Option(help="Epochs before the first division.")] = None,
    subset: Subset = None,
    noise_option: NoiseOptions = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any field of the config, e.g. tau=0.7. Repeatable."),
    ] = None,
) -> None:
    """Train a method on noisy labels; the last line printed is its test accuracy in per cent."""
    config = TrainConfig(
        dataset=dataset,
        noise=noise,
        rate=rate,
        noise_options=_pairs(noise_option),
        method=method,
        preset=preset,
        seed=seed,
        subset=subset,
        epochs=epochs,
        warmup_epochs=warmup_epochs,
    )
    config = with_overrides(config, _pairs(set_)).resolved()
    data = load_dataset(dataset)
    check_output_folder(out, config)
    with tqdm(total=config.epochs, unit="epoch", disable=not sys.stderr.isatty()) as bar:

        def advance(epoch) -> None:
            bar.set_postfix_str(f"{epoch.row['phase']}, test accuracy {epoch.row['test_accuracy']:.1f} %")
            bar.update()

        result = train(config, data, advance)
    result.save(out)
    print(f"{result.noise['identity']}, realised rate {_per_cent(result.noise['realised_rate'])}")
    print(f"wrote {out / 'result.json'} and {out / 'samples.csv'} in {result.wall_seconds:.1f} s")
    print(result.summary())


@app.command("noise")
def noise_command(
    out: Annotated[Path, typer.Option("--out", help="File to write: .npz (everything that is known), else CSV.")],
    dataset: DatasetName = "digits",
    noise: NoiseName = "symmetric",
    rate: Rate = 0.4,
    seed: Seed = 0,
    subset: Subset = None,
    noise_option: NoiseOptions = None,
) -> None:
    """Write noisy training labels into a file and say how many are wrong; `--noise file:OUT` reads it again."""
    if out.exists():
        raise InputError(f"{out} exists already; choose another file")
    data = load_dataset(dataset)
    data = data if subset is None else data.subset(subset)
    noisy = corrupt(data, noise, rate, seed, **_pairs(noise_option))
    if out.suffix == ".npz":
        noisy.save(out)
    else:
        _write_csv(out, noisy.shown(data), noisy)
    print(f"{noisy.identity}: realised rate {_per_cent(noisy.rate)}")


def _write_csv(out: Path, data: Dataset, noisy: NoisyLabels) -> None:
    """index, given label, true label: the index is that of the whole training set; a truth that is unknown is empty."""
    true = [""] * len(noisy.given_labels) if noisy.true_labels is None else noisy.true_labels.tolist()
    columns = zip(data.train_index.tolist(), noisy.given_labels.tolist(), true, strict=True)
    lines = ["index,given_label,true_label", *(f"{i},{given},{t}" for i, given, t in columns)]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, "\n".join(lines) + "\n")
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error


def _pairs(assignments: list[str] | None) -> dict[str, Any]:
    """`["tau=0.7", "strong=true", "meta=off"]` -> `{"tau": 0.7, "strong": True, "meta": "off"}`."""
    pairs = {}
    for assignment in assignments or []:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"{assignment!r} is not of the form KEY=VALUE")
        pairs[key.strip()] = _value(value.strip())
    return pairs


def _value(text: str) -> Any:
    """What a JSON reader or `float` makes of a text, else the text. Not YAML: it reads `off` as false, 1e-3 as text."""
    if text.lower() in ("true", "false", "null"):
        text = text.lower()
    for read in (json.loads, float):
        try:
            return read(text)
        except ValueError:
            pass
    return text


def _per_cent(rate: float | None) -> str:
    return "unknown" if rate is None else f"{rate:.2%}"


def main() -> None:
    """Run the command line; what the user can mend is one line on standard error and exit status 2."""
    try:
        app()
    except (InputError, DivergenceError) as error:
        print(f"nlcore: error: {error}", file=sys.stderr)
        sys.exit(2)
