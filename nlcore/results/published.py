"""Our results beside published ones, in one table that says where each number comes from."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nlcore.basics.errors import InputError, first_line
from nlcore.basics.files import save_file, suffix_of, user_path
from nlcore.methods import METHODS
from nlcore.noise.corrupt import WITHOUT_RATE
from nlcore.results.tables import NOT_AVAILABLE, number, read_results, told_apart
from nlcore.training.result import STATISTICS

PUBLISHED_COLUMNS = ["dataset", "noise", "rate", "method", "networks", "statistic", "value", "std", "evidence"]
SETTING = ["dataset", "noise", "rate"]
# One row of our results: runs that differ in their seed alone.
OURS = [*SETTING, "method", "preset", "networks", "network", "images", "epochs", "holdout", "device"]
COLUMNS = [*SETTING, "source", "method", "preset", "networks", "network", "images", "epochs", *STATISTICS, "n"]
COLUMNS += ["device", "evidence"]
NUMBERS = ("rate", "networks", "value", "std")
TABLE_SUFFIXES = (".csv", ".md")


def read_published(path: str | Path) -> pd.DataFrame:
    """Published rows, one number each; `rate`, `networks`, `value` and `std` may be empty.

    Raises
    ------
    InputError : a file that cannot be read, without one of the columns, or with text where a number belongs.
    """
    try:
        frame = pd.read_csv(user_path(path), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {first_line(error)}") from error
    if missing := [name for name in PUBLISHED_COLUMNS if name not in frame]:
        raise InputError(f"{path} has no column {missing[0]!r}; it needs {', '.join(PUBLISHED_COLUMNS)}")
    for name in NUMBERS:
        numbers = pd.to_numeric(frame[name].str.strip().replace("", None), errors="coerce").astype(float)
        if (wrong := numbers.isna() & ~frame[name].str.strip().str.lower().isin(("", "nan"))).any():
            row = int(wrong.to_numpy().argmax())
            raise InputError(f"{path}, line {row + 2}: {name} {frame[name].iloc[row]!r} is no number")
        frame[name] = numbers
    return frame


def comparison(folder: str | Path, published: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every setting of which the folder has a result: published rows first, then ours.

    Numbers are text: `94.6 ± 0.2`, `94.6` where one run or one source gives no deviation, `not available` where nobody
    has a number. `evidence` says where a published number was read and which code made ours; one that is recalled from
    memory says so. Runs that differ in more than their seed are rows of their own, and `evidence` says in what.
    """
    runs = read_results(folder)
    if runs.empty:
        missing = "" if user_path(folder).is_dir() else ", for it is no folder"
        raise InputError(f"{folder} holds no result{missing}")
    ours = runs.assign(**dict(zip(SETTING, zip(*map(_setting, runs.to_dict("records")), strict=True), strict=True)))
    ours["apart"] = told_apart(ours, OURS)
    theirs = None if published is None else _with_settings(published)
    rows = []
    for setting, group in ours.groupby(SETTING, sort=False, dropna=False):
        if theirs is not None:
            same = [row for row in theirs.to_dict("records") if _same(setting, [row[name] for name in SETTING])]
            rows += [_published_row(setting, row) for row in same]
        rows += [_our_row(key, runs) for key, runs in group.groupby([*OURS, "apart"], sort=False, dropna=False)]
    return pd.DataFrame(rows, columns=COLUMNS)


def write_table(table: pd.DataFrame, path: Path | None = None) -> str:
    """The table as Markdown; with a path that ends in `.csv` or `.md` it is also written there, as that."""
    lines = [table.columns.tolist(), ["---"] * table.shape[1], *table.astype(str).values.tolist()]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if path is not None:
        suffix = suffix_of(path, *TABLE_SUFFIXES)
        save_file(path, table.to_csv(index=False) if suffix == ".csv" else text + "\n")
    return text


def _setting(run: dict) -> tuple[str, str, float | None]:
    """Dataset, noise and rate under which papers speak of a run: a label file goes by its folder and its real rate."""
    kind, _, name = run["noise"].partition(":")
    if kind in ("file", "annotators"):
        return run["dataset"], f"{kind}:{Path(name).parent.name}", round(run["realised_rate"] or 0.0, 1)
    return run["dataset"], run["noise"], None if kind in WITHOUT_RATE else run["rate"]


def _with_settings(published: pd.DataFrame) -> pd.DataFrame:
    human = published["noise"].str.startswith("human:")
    return published.assign(rate=published["rate"].mask(human))


def _same(one: Sequence, other: Sequence) -> bool:
    return all(a == b or (pd.isna(a) and pd.isna(b)) for a, b in zip(one, other, strict=True))


def _published_row(setting: tuple, row: dict) -> dict[str, str]:
    evidence = row["evidence"]
    statistic = row["statistic"]
    if statistic not in STATISTICS:  # shown where most sources have theirs, and said so
        evidence, statistic = f"{evidence}; best or last not stated", "best"
    numbers = dict.fromkeys(STATISTICS, NOT_AVAILABLE) | {statistic: number(row["value"], row["std"])}
    words = {"source": "published", "method": row["method"], "preset": "", "network": "", "images": "", "epochs": ""}
    networks = "" if pd.isna(row["networks"]) else f"{row['networks']:g}"
    return (
        _setting_words(setting)
        | words
        | {"networks": networks}
        | numbers
        | {"n": "", "device": ""}
        | {"evidence": evidence}
    )


def _our_row(key: tuple, runs: pd.DataFrame) -> dict[str, str]:
    values = dict(zip([*OURS, "apart"], key, strict=True))
    if twice := runs["seed"][runs["seed"].duplicated()].tolist():
        paths = ", ".join(runs["path"][runs["seed"] == twice[0]])
        raise InputError(f"the same run with seed {twice[0]} more than once; keep one of: {paths}")
    numbers = {}
    for name in STATISTICS:
        known = runs[name].dropna()
        numbers[name] = number(known.mean(), known.std()) if len(known) else NOT_AVAILABLE
    notes = f"; {values['holdout']:.0%} held out" if values["holdout"] else ""
    notes += f"; {values['apart']}" if values["apart"] else ""
    return (
        _setting_words(tuple(values[name] for name in SETTING))
        | {"source": "ours", "method": getattr(METHODS.get(values["method"]), "TITLE", values["method"])}
        | {name: str(values[name]) for name in ("preset", "networks", "network", "images", "epochs", "device")}
        | numbers
        | {"n": str(len(runs)), "evidence": f"code {', '.join(sorted(set(runs['code'])))}{notes}"}
    )


def _setting_words(setting: tuple) -> dict[str, str]:
    dataset, noise, rate = setting
    return {"dataset": dataset, "noise": noise, "rate": "" if pd.isna(rate) else f"{rate:g}"}
