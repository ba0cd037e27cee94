"""The command line, also as `python -m nlcore`: `train`, `noise`, `features`, `sweep` and `table`."""

import codecs
import io
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from nlcore.audit.command import audit_command
from nlcore.basics import VERSION
from nlcore.basics.arguments import key_values
from nlcore.basics.chance import SEEDS
from nlcore.basics.errors import DivergenceError, InputError, Paused, choose, first_line
from nlcore.basics.files import suffix_of, user_path
from nlcore.basics.progress import steps
from nlcore.cli_options import (
    DatasetName,
    ImageColumn,
    ImageSize,
    LabelColumn,
    NoiseName,
    NoiseOptions,
    Rate,
    Seed,
    Subset,
    TestData,
    TextColumn,
    TimeBudget,
    data_options,
    nominal_rate,
)
from nlcore.data.datasets import load_dataset
from nlcore.data.own import PREFIX, holds_files, own_options
from nlcore.methods import METHODS
from nlcore.noise.corrupt import check_noise
from nlcore.noise.labels import write_csv
from nlcore.results.grids import read_grid
from nlcore.results.published import TABLE_SUFFIXES, comparison, read_published, write_table
from nlcore.results.sweep import Outcome, run_all
from nlcore.training import distributed
from nlcore.training.clean_model import corrupt
from nlcore.training.config import TrainConfig, with_overrides
from nlcore.training.presets import BUDGETS, PRESETS
from nlcore.training.result import check_output_folder, is_current, stored_result, summary_line
from nlcore.training.run import TIME_BUDGETS, first_interrupt_stops, train

app = typer.Typer(
    help="Learning with noisy labels: TSSD, Anchor Hallucination and their baselines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OWN_FLAGS = {"noise_options": "--noise-option", "data_options": "--image-size, --label-column, --test ..."}
UsageError = typer.BadParameter.__base__  # of click, which typer brings along in a place of its own


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if show:
        print(VERSION)
        raise typer.Exit


@app.command("train")
def train_command(
    out: Annotated[Path, typer.Option("--out", help="Folder for result.json and samples.csv.")],
    dataset: DatasetName = "digits",
    image_size: ImageSize = None,
    label_column: LabelColumn = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    test: TestData = None,
    noise: NoiseName = None,
    rate: Rate = None,
    method: Annotated[str, typer.Option(help=f"{', '.join(METHODS)}.")] = "tssd",
    preset: Annotated[str, typer.Option(help=f"{', '.join(PRESETS)}.")] = "tuned",
    budget: Annotated[
        str | None, typer.Option(help=f"{', '.join(BUDGETS)}: the papers' network; default: the dataset's recipe.")
    ] = None,
    networks: Annotated[
        int | None, typer.Option(help="1, or 2 that divide for each other; default: what the method needs.")
    ] = None,
    seed: Seed = 0,
    epochs: Annotated[
        int | None, typer.Option(help="All epochs, warm-up included; default: the dataset's recipe.")
    ] = None,
    warmup_epochs: Annotated[int | None, typer.Option(help="Epochs before the first division.")] = None,
    subset: Subset = None,
    noise_option: NoiseOptions = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other field of the config, e.g. tau=0.7. Repeatable."),
    ] = None,
    time_budget: TimeBudget = None,
) -> None:
    """Train a method on noisy labels; the last line printed is its test accuracy in per cent.

    Own data: path:FOLDER has a folder of images for each class; path:TABLE is .csv, .tsv (also .gz) or .parquet, with
    names in its first line; path:FILE.npz has inputs and labels; the labels of path:FILE.npy are in FILE_labels.npy,
    .txt or .csv beside it. Labels may be words, and are taken as they are: samples.csv says which look wrong.

    A run that was stopped (Ctrl-C, SIGTERM, a time budget, a crash) goes on when the same command is given again.
    """
    first = distributed.from_torchrun() == 0  # the process that writes
    columns = {"label_column": label_column, "text_column": text_column, "image_column": image_column}
    options = {
        "dataset": dataset,
        "data_options": data_options(test, image_size=image_size, **columns),
        "noise": noise,
        "rate": nominal_rate(dataset, noise, rate),
        "noise_options": key_values(noise_option),
        "method": method,
        "preset": preset,
        "budget": budget,
        "networks": networks,
        "seed": seed,
        "subset": subset,
        "epochs": epochs,
        "warmup_epochs": warmup_epochs,
    }
    others = key_values(set_)
    if twice := next((name for name in others if name in options), None):
        flag = OWN_FLAGS.get(twice, f"--{twice.replace('_', '-')}")
        raise InputError(f"--set {twice}: it has an option of its own; say {flag}")
    config, out = with_overrides(TrainConfig(**options), others).resolved(), user_path(out)
    check_output_folder(out, config)
    if is_current(stored := stored_result(out / "result.json", config)):
        if (out / "samples.csv").exists():
            print(f"{out} holds this run already, finished")
            print(summary_line(stored))
            return
        if first:
            print(f"{out} has lost its samples.csv: the run is finished again, from its checkpoint if that is there")
    with steps(config.epochs, f"{method} on {dataset}", "epochs") as advance, first_interrupt_stops():

        def advanced(epoch) -> None:
            row = epoch.row
            tested = "" if row["test_accuracy"] is None else f", test accuracy {row['test_accuracy']:.1f} %"
            advance(row["epoch"], f"{row['phase']}{tested}")

        result = train(config, None, advanced, out, time_budget)
    if not first:
        return
    result.save(out)
    print(f"{result.noise['identity']}, realised rate {_per_cent(result.noise['realised_rate'])}")
    print(f"wrote {out / 'result.json'} and {out / 'samples.csv'} in {result.wall_seconds:.1f} s")
    print(result.summary())


@app.command("sweep")
def sweep_command(
    grid: Annotated[Path, typer.Argument(help="YAML file of cells, such as benchmark/cpu.yml.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the results, one file a cell.")],
    jobs: Annotated[int, typer.Option("--jobs", help="Cells at the same time.")] = 1,
    only: Annotated[str | None, typer.Option("--only", help="The name of one cell: run no other.")] = None,
    show: Annotated[bool, typer.Option("--list", help="Print the names of the cells and run none.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Run cells again that other code has made.")] = False,
    time_budget: TimeBudget = None,
) -> None:
    """Run the cells of a grid that are missing from a folder, each once, however many sweeps run at a time."""
    cells = read_grid(grid)
    if only is not None:
        cells = {choose("cell", only, cells): cells[only]}
    if show:
        print("\n".join(cells))
        return
    deadline = None if time_budget is None else time.time() + TIME_BUDGETS.check("time_budget", time_budget)
    count = 0

    def tell(outcome: Outcome) -> None:
        nonlocal count
        if outcome.status != "not begun":
            count += 1
            reason = f": {first_line(outcome.error)}" if outcome.error else ""
            print(f"[{count}/{len(cells)}] {outcome.status} {outcome.name}{reason}", flush=True)

    statuses = [o.status for o in run_all(cells, out, jobs, any_code=not redo, deadline=deadline, on_outcome=tell)]
    if waiting := statuses.count("not begun"):
        print(f"{waiting} of {len(cells)} cells not begun: no time left for them", flush=True)
    if failed := statuses.count("failed"):
        raise InputError(f"{failed} of {len(cells)} cells failed; their lines above say why")
    if paused := waiting + statuses.count("paused"):
        raise Paused(f"{paused} of {len(cells)} cells are not finished; the same command goes on")


@app.command("table")
def table_command(
    results: Annotated[Path, typer.Argument(help="Folder of results.")],
    published: Annotated[Path | None, typer.Option(help="CSV of published rows to set beside ours.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table here: .csv, or .md for Markdown.")] = None,
) -> None:
    """Our results beside published ones: mean and deviation over seeds, number of seeds, evidence, device."""
    if out is not None:
        out = user_path(out)
        suffix_of(out, *TABLE_SUFFIXES)
    table = comparison(results, None if published is None else read_published(published))
    print(write_table(table, out))


@app.command("noise")
def noise_command(
    out: Annotated[Path, typer.Option("--out", help="File to write: .npz (everything that is known) or .csv.")],
    dataset: DatasetName = "digits",
    image_size: ImageSize = None,
    label_column: LabelColumn = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    test: TestData = None,
    noise: NoiseName = "symmetric",
    rate: Rate = None,
    seed: Seed = 0,
    subset: Subset = None,
    noise_option: NoiseOptions = None,
) -> None:
    """Write noisy training labels into a file and say how many are wrong; `--noise file:OUT` reads it again."""
    out = user_path(out)
    suffix = suffix_of(out, ".npz", ".csv")
    if out.exists():
        raise InputError(f"{out} exists already; choose another file")
    SEEDS.check("seed", seed, whole=True)
    check_noise(noise, rate := nominal_rate(dataset, noise, rate), options := key_values(noise_option))
    columns = {"label_column": label_column, "text_column": text_column, "image_column": image_column}
    data = load_dataset(dataset, **data_options(test, image_size=image_size, **columns))
    data = data if subset is None else data.subset(subset)
    noisy = corrupt(data, noise, rate, seed, **options)
    if suffix == ".npz":
        noisy.save(out)
    else:
        write_csv(out, noisy.shown(data), noisy)
    print(f"{noisy.identity}: realised rate {_per_cent(noisy.rate)}")


@app.command("features")
def features_command(
    data: Annotated[str, typer.Argument(help="A data set of images, path:FOLDER or path:TABLE.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, .npz; `--dataset path:OUT` reads it.")],
    backbone: Annotated[str, typer.Option(help="efficientnet_lite0, or torchvision:NAME.")] = "efficientnet_lite0",
    size: Annotated[int, typer.Option(help="Pixels that images are resized to.")] = 112,
    label_column: LabelColumn = None,
    image_column: ImageColumn = None,
    test: TestData = None,
) -> None:
    """Turn images into vectors once, by a pretrained network. Stopped anywhere, the same command goes on."""
    from nlcore.data.features import extract_features

    options = data_options(test, label_column=label_column, image_column=image_column)
    if data.startswith(PREFIX) and holds_files(data.removeprefix(PREFIX), own_options(options)):
        options["image_size"] = size  # what the network sees; to make images small and large again would blur them
    images = load_dataset(data, **options)
    dim = extract_features(images, user_path(out), backbone, size)
    print(f"wrote {out}: {len(images.train_labels)} + {len(images.test_labels)} vectors of {dim} numbers")


app.command("audit")(audit_command)


def _plain(error: UnicodeEncodeError) -> tuple[str, int]:
    """What stands for signs that a terminal does not have."""
    return error.object[error.start : error.end].replace("±", "+-").encode("ascii", "replace").decode(), error.end


codecs.register_error(PLAIN := "nlcore plain", _plain)


def _per_cent(rate: float | None) -> str:
    return "unknown" if rate is None else f"{rate:.2%}"


def main() -> None:
    """Run the command line.

    What the user can mend is one line on standard error and exit status 2. A run that was stopped and can go on ends
    with status 75, which job schedulers know as "try again".
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=PLAIN)
    try:
        try:
            sys.exit(app(standalone_mode=False) or 0)
        finally:
            if sys.stdout is not None:  # closed from the start, as by `>&-`
                sys.stdout.flush()
    except BrokenPipeError:  # who reads, `head` for example, has seen enough; Python must not flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Paused as stopped:
        print(f"nlcore: {stopped}", file=sys.stderr)
        sys.exit(75)
    except UsageError as error:
        if words := error.format_message():
            print(f"nlcore: error: {' '.join(words.split()).rstrip('.')}; --help says more", file=sys.stderr)
        sys.exit(error.exit_code)
    except (InputError, DivergenceError) as error:
        print(f"nlcore: error: {error}", file=sys.stderr)
        sys.exit(2)
