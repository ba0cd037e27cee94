"""`nlcore audit`: which labels of some data are wrong, from the command line."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from nlcore.basics.chance import SEEDS
from nlcore.basics.errors import choose
from nlcore.basics.files import user_path
from nlcore.basics.progress import duration, steps
from nlcore.methods import METHODS

PRINTED = 20


def audit_command(
    data: Annotated[str, typer.Argument(help="A folder of images, a table, a .npz or .npy file, or a data set.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for issues.csv, clean.csv, report.html, summary.json.")],
    labels: Annotated[
        str | None, typer.Option("--labels", "--label-column", help="The column of a table that holds the labels.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text-column", help="Of a table: a text to learn from.")] = None,
    image: Annotated[str | None, typer.Option("--image-column", help="Of a table: names of image files.")] = None,
    method: Annotated[str, typer.Option(help=f"How networks are trained: {', '.join(METHODS)}.")] = "tssd",
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    apply: Annotated[
        Path | None,
        typer.Option("--apply", metavar="DECISIONS", help="Write labels.csv from the decisions saved in the report."),
    ] = None,
) -> None:
    """Say which labels are probably wrong: a table of all rows, a report to decide in, corrected labels.

    A folder has a folder of images for each class; a table has names in its first line. An audit that was stopped goes
    on when the same command is given again.
    """
    from nlcore.audit import run  # scikit-learn's classes load slowly, and no other command needs them

    options = {"label_column": labels, "text_column": text, "image_column": image}
    options = {name: value for name, value in options.items() if value is not None}
    if apply is not None:
        done = run.apply(data, out, apply, options)
        print(f"wrote {out / run.APPLIED}: {done['decisions']} decisions, {done['changed']} labels changed")
        return
    choose("method", method, METHODS)
    SEEDS.check("seed", seed, whole=True)
    started, before = time.monotonic(), _written_at(out / run.SUMMARY)
    with steps(100, f"audit of {data}", "per cent") as advance:
        summary = run.audit(data, out, method, seed, options, lambda share: advance(int(100 * share)))
    for line in told(summary):
        print(line)
    files = f"{', '.join((run.ISSUES, run.CLEAN, run.SUMMARY))} and {run.REPORT}"
    if before == _written_at(out / run.SUMMARY):
        print(f"this audit was finished before: {files} in {out}; open {out / run.REPORT} to decide")
    else:
        took = duration(time.monotonic() - started)
        print(f"wrote {files} in {out}, {took}; open {out / run.REPORT} to decide")


def _written_at(path: Path) -> int | None:
    """When a file was written last; None if there is none."""
    path = user_path(path)
    return path.stat().st_mtime_ns if path.exists() else None


def told(summary: dict[str, Any]) -> list[str]:
    """The summary in lines: the most suspicious twenty, how many are wrong, and the concerns."""
    shown = [
        (f"{row['label_quality']:.3f}", row["given_label"], row["predicted_label"], row["name"])
        for row in summary["most_suspicious"][:PRINTED]
    ]
    head = ("quality", "given", "predicted", "sample")
    widths = [max(len(cells[column]) for cells in (head, *shown)) for column in range(3)]
    lines = ["  ".join([*(cells[c].ljust(widths[c]) for c in range(3)), cells[3]]) for cells in (head, *shown)]
    wrong = summary["wrong"]
    lines.append(
        f"about {wrong['estimate']:.0f} of {summary['rows']} labels are wrong (between {wrong['low']:.0f} and "
        f"{wrong['high']:.0f}); {summary['issues']} are issues, {summary['corrected']} are corrected in clean.csv"
    )
    return [*lines, *(f"note: {concern}" for concern in summary["concerns"])]
