"""Stored results as tables: one row a run, then mean and deviation over seeds."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nlcore.basics.errors import InputError
from nlcore.basics.files import user_path
from nlcore.results.unfinished import PARTIAL
from nlcore.training.result import STATISTICS

log = logging.getLogger(__name__)

CELL = ["dataset", "noise", "rate", "method", "preset"]
OVER_SEEDS = ["best", "last", "last10"]
NOT_AVAILABLE = "not available"


def read_results(folder: str | Path) -> pd.DataFrame:
    """Every `*.json` result below a folder as one row of a pandas DataFrame; hidden folders and the partial histories
    of cells that are not finished are left out.

    Columns: dataset, subset, noise, rate, realised_rate, method, preset, networks, budget, network, seed, images (that
    were trained on), epochs, holdout, best, last, last10, fair, wall_seconds, peak_memory_mb, device, code; auroc and
    average_precision of the last division, see `nlcore.training.report.label_order`, None where there is none;
    settings, a dictionary of the whole configuration but for seed and machine; path. A file that is not a result is
    logged, by name, and left out.
    """
    rows, folder = [], user_path(folder)
    for path in sorted(folder.rglob("*.json")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or path.name.endswith(PARTIAL):
            continue
        try:
            rows.append(_row(json.loads(path.read_text(encoding="utf-8"))) | {"path": str(path)})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is not a result file and is left out (%s: %s)", path, type(error).__name__, error)
    return pd.DataFrame(rows)


def _row(values: dict[str, Any]) -> dict[str, Any]:
    config, environment = values["config"], values["environment"]
    names = ("dataset", "subset", "noise", "rate", "method", "preset", "networks", "budget", "network", "seed")
    row = {name: config[name] for name in names}
    row["realised_rate"] = values["noise"]["realised_rate"]
    row |= {name: config[name] for name in ("epochs", "holdout")}
    row |= {name: values[name] for name in ("images", *STATISTICS, "wall_seconds", "peak_memory_mb")}
    row |= {"device": environment["device"], "code": environment["code"]}
    last = (values.get("history") or [{}])[-1]
    row |= {name: last.get(name) for name in ("auroc", "average_precision")}
    return row | {"settings": _settings(config)}


HOW = ("device", "threads", "precision", "compile")  # a run is computed, not what is run


def told_apart(runs: pd.DataFrame, by: list[str]) -> pd.Series:
    """The settings in which runs differ that agree in the columns `by`, in words for each run: `tau=0.5`.

    Empty where they are alike but for their seeds: only such runs may be averaged. A setting that one of them
    does not name, because older code made it, is not compared.
    """
    words = pd.Series("", runs.index, dtype=str)
    for _, alike in runs.groupby(by, sort=False, dropna=False):
        settings = alike["settings"].tolist()
        named = [name for name in settings[0] if all(name in others for others in settings)]
        apart = [name for name in named if any(others[name] != settings[0][name] for others in settings)]
        words[alike.index] = [", ".join(f"{name}={values[name]}" for name in apart) for values in settings]
    return words


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """What a stored configuration says, but for its seed, by the names that `--set` has for it."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= value if isinstance(value, dict) else {name: value}
    kind, colon, file = flat["noise"].partition(":")
    flat["noise"] = f"{kind}{colon}{Path(file).name}"  # the same file may lie elsewhere on another machine
    return {name: value for name, value in flat.items() if name not in ("seed", *HOW)}


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds.

    Parameters
    ----------
    frame : runs, as `run_grid` returns them.

    Returns
    -------
    A row for each dataset, noise, rate, method and preset, in order of appearance. Columns: `best_mean`, `best_std` and
    so on for last and last10; `n`, the number of seeds; `realised_rate`. The deviation is the sample's (n - 1 in the
    denominator), hence NaN for one seed.

    Raises
    ------
    InputError : a seed twice in one cell, or a cell that mixes runs of different length, size or other settings.
    """
    frame = frame.reset_index(drop=True)
    mixed = (frame.groupby(CELL, dropna=False)[["subset", "epochs"]].nunique(dropna=False) > 1).any(axis=1)
    if mixed.any():
        raise InputError(f"runs of different length or subset in {' '.join(map(str, mixed.idxmax()))}")
    apart = told_apart(frame, CELL)
    if apart.any():
        row = frame.loc[apart.ne("").idxmax()]
        raise InputError(f"runs that differ in more than their seed in {_cell(row)}: {', '.join(apart.unique())}")
    twice = frame.duplicated([*CELL, "seed"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise InputError(f"more than one run of {_cell(row)} with seed {row['seed']}: {row['path']}")
    groups = frame.assign(realised_rate=frame["realised_rate"].astype(float)).groupby(CELL, sort=False, dropna=False)
    columns = {f"{name}_{of}": groups[name].agg(of) for name in OVER_SEEDS for of in ("mean", "std")}
    return pd.DataFrame(columns | {"n": groups.size(), "realised_rate": groups["realised_rate"].mean()})


def _cell(row: pd.Series) -> str:
    return " ".join(str(row[key]) for key in CELL)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A `summary` for the eye: `97.2 ± 0.3`, or `97.2 (n = 1)` where one seed cannot say how much it varies."""

    def cell(mean: float, std: float, n: int) -> str:
        return f"{number(mean, std)} (n = 1)" if n == 1 else number(mean, std)

    columns = {
        name: [cell(*row) for row in zip(table[f"{name}_mean"], table[f"{name}_std"], table["n"], strict=True)]
        for name in OVER_SEEDS
    }
    return pd.DataFrame(columns | {"n": table["n"].tolist()}, index=table.index)


def number(mean: float, std: float) -> str:
    """`97.2 ± 0.3`, `97.2` without a deviation, or that there is no number."""
    if not np.isfinite(mean):
        return NOT_AVAILABLE
    return f"{mean:.1f} ± {std:.1f}" if np.isfinite(std) else f"{mean:.1f}"


def curves(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Test accuracy by epoch: method -> (seeds, epochs) in per cent, seeds in ascending order.

    Parameters
    ----------
    frame : runs of one dataset, noise, rate and preset, as `run_grid` returns them; their files are read again.
    """
    if (frame[["dataset", "noise", "rate", "preset", "epochs"]].nunique() > 1).any():
        raise InputError("curves need runs of one dataset, noise, rate, preset and length")
    histories = {path: json.loads(Path(path).read_text(encoding="utf-8"))["history"] for path in frame["path"]}
    return {
        method: np.array([[row["test_accuracy"] for row in histories[path]] for path in runs["path"]])
        for method, runs in frame.sort_values("seed", kind="stable").groupby("method", sort=False)
    }
