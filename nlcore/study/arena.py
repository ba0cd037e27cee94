"""Many methods in many cells: who is ahead of whom, by how much, and how sure that is.

A cell is one dataset, size and noise; its runs differ by seed. Differences are paired, because two methods with the
same seed see the same wrong labels. Over cells, methods are compared by their rank in each (Demsar, JMLR 2006).
"""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nlcore.results.tables import NOT_AVAILABLE, number
from nlcore.study.ledger import t_interval
from nlcore.training.report import f1_score

CELL = ["dataset", "subset", "noise", "rate"]
STOPPED = "ce, stopped"


def contenders(frame: pd.DataFrame, statistic: str = "last") -> pd.DataFrame:
    """Runs with a column `contender` and a column `score`, the statistic in per cent.

    A contender is a method; `elr+`, with two networks where the method needs one; `ce, stopped` is cross-entropy in the
    epoch that a noisy hold-out chooses, whatever the statistic.

    frame : runs, as `nlcore.results.tables.read_results` gives them.
    """
    stopped = (frame["method"] == "ce") & (frame["holdout"] > 0)
    doubled = (frame["networks"] == 2) & (frame["method"] == "elr")
    names = frame["method"].mask(doubled, "elr+").mask(stopped, STOPPED)
    scores = frame[statistic].astype(float).mask(stopped, frame["fair"].astype(float))
    return frame.assign(contender=names, score=scores)


def cell_means(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean score over seeds: a row for each cell, a column for each contender, NaN where there is no run."""
    return runs.pivot_table("score", CELL, "contender", "mean", dropna=False, sort=False).dropna(how="all")


def cell_table(runs: pd.DataFrame) -> pd.DataFrame:
    """`82.1 ± 0.3` over seeds (n = 1 without a deviation): a row for each cell, a column for each contender."""
    means = cell_means(runs)
    spread = runs.pivot_table("score", CELL, "contender", "std", dropna=False, sort=False)
    spread = spread.reindex(index=means.index, columns=means.columns)
    columns = {
        name: [NOT_AVAILABLE if pd.isna(m) else number(m, s) for m, s in zip(means[name], spread[name], strict=True)]
        for name in means
    }
    return pd.DataFrame(columns, index=means.index)


def paired_differences(runs: pd.DataFrame, against: str) -> pd.DataFrame:
    """How far each contender is ahead of one of them, cell by cell, with the same seeds.

    Columns: those of a cell, contender, n (seeds that both have), mean, low, high (Student's 95 % interval, unbounded
    for one seed).
    """
    lines = []
    for cell, inside in runs.groupby(CELL, sort=False, dropna=False):
        scores = inside.pivot_table("score", "seed", "contender")
        if against not in scores:
            continue
        for name in scores.columns.drop(against):
            found = (scores[name] - scores[against]).dropna()
            if len(found):
                lines.append((*cell, name, len(found), *t_interval(found.tolist())))
    return pd.DataFrame(lines, columns=[*CELL, "contender", "n", "mean", "low", "high"])


def over_cells(differences: pd.DataFrame) -> pd.DataFrame:
    """`paired_differences` over all cells: mean of the cells' means, its interval over cells, and the worst cell.

    Columns cells, mean, low, high, worst; a row for each contender, the one that is furthest ahead first.
    """
    lines = {
        name: (len(of), *t_interval(of["mean"].tolist()), of["mean"].min())
        for name, of in differences.groupby("contender", sort=False)
    }
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["cells", "mean", "low", "high", "worst"])
    return table.sort_values("mean", ascending=False)


def mining_table(runs: pd.DataFrame) -> pd.DataFrame:
    """What mining adds to TSSD's labelled set in the last division: a row for each cell, means over seeds.

    Columns: `mined`, their number; `right`, the share of right labels among them; `F1` of the labelled set, `without`
    the mined ones, and the `gain`. Shares and F1 in per cent; without mined samples `right` is NaN.
    """

    def numbers(last: dict[str, Any]) -> dict[str, float | None]:
        mined, certain, labelled = last["sets"]["mined"], last["sets"]["positive"], last["labelled"]
        without = f1_score(certain["precision"], certain["recall"]) or 0
        row = {"mined": mined["size"], "right": mined["precision"] and 100 * mined["precision"]}
        return row | {"F1": 100 * (labelled["f1"] or 0), "without": 100 * without}

    table = _last_epochs(runs[runs["contender"] == "tssd"], "sets", numbers)
    return table if table.empty else table.assign(gain=table["F1"] - table["without"])


def verdict_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Anchor's verdicts in the last division beside the network's own predictions: a row for each cell, means over
    seeds.

    Columns as in `nlcore.training.report.describe_verdicts`, shares in per cent; `lead`, the verdicts that became
    labels less as many of the surest predictions.
    """

    def numbers(last: dict[str, Any]) -> dict[str, float | None]:
        shares = {name: value and 100 * value for name, value in last["verdicts"].items() if name.endswith("right")}
        return {name: last["verdicts"][name] for name in ("used", "all")} | shares

    table = _last_epochs(runs[runs["contender"] == "anchor"], "verdicts", numbers)
    return table if table.empty else table.assign(lead=table["right"] - table["argmax_right"])


def _last_epochs(
    runs: pd.DataFrame, needed: str, numbers: Callable[[dict[str, Any]], dict[str, float | None]]
) -> pd.DataFrame:
    """Mean over seeds of what `numbers` says about the last history row of each run that has the `needed` entry."""
    rows = []
    for _, one in runs.iterrows():
        last = json.loads(Path(one["path"]).read_text(encoding="utf-8"))["history"][-1]
        if last.get(needed):
            rows.append({name: one[name] for name in CELL} | numbers(last))
    if not rows:
        return pd.DataFrame()
    return (
        pd.DataFrame(rows)
        .astype(dict.fromkeys(set(rows[0]) - set(CELL), float))
        .groupby(CELL, sort=False, dropna=False)
        .mean()
    )


def average_ranks(means: pd.DataFrame) -> pd.Series:
    """Mean rank of each contender over the cells in which all of them ran, 1 = the best, ties shared; best first."""
    return means.dropna().rank(axis=1, ascending=False).mean().sort_values()


def critical_difference(contenders: int, cells: int, level: float = 0.95) -> float:
    """Average ranks that are further apart differ (Nemenyi's test, Demsar 2006, equation for CD)."""
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(level, contenders, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(contenders * (contenders + 1) / (6 * cells))


def indistinguishable(ranks: pd.Series, distance: float) -> list[tuple[float, float]]:
    """The longest stretches of sorted ranks that are within a distance: their ends, of two contenders at least."""
    values = sorted(ranks)
    stretches = [(low, max(high for high in values if high - low <= distance)) for low in values]
    kept = [stretches[0], *(after for before, after in pairwise(stretches) if after[1] > before[1])]
    return [(low, high) for low, high in kept if high > low]


def rank_figure(ax: Axes, means: pd.DataFrame, titles: dict[str, str] | None = None) -> None:
    """Average ranks on a line, the best on the left; a bar joins those that the cells do not tell apart."""
    ranks = average_ranks(means)
    distance = critical_difference(len(ranks), len(means.dropna()))
    half = -(-len(ranks) // 2)
    ax.hlines(0, 1, len(ranks), color="black", linewidth=1)
    for place, (name, rank) in enumerate(ranks.items()):
        left = place < half
        depth = -(place + 1 if left else len(ranks) - place) - 1
        end = 1 if left else len(ranks)
        ax.plot([rank, rank, end], [0, depth, depth], color="0.3", linewidth=0.9)
        words = f"{(titles or {}).get(name, name)}  {rank:.1f}"
        ax.text(end + (-0.1 if left else 0.1), depth, words, ha="right" if left else "left", va="center", fontsize=9)
    for number_, (low, high) in enumerate(indistinguishable(ranks, distance)):
        ax.hlines(-0.45 - 0.35 * number_, low - 0.04, high + 0.04, color="#0072B2", linewidth=3)
    ax.set_title(f"average rank in {len(means.dropna())} cells; critical difference {distance:.1f}", fontsize=10)
    ax.set(xlim=(-1, len(ranks) + 2), ylim=(-half - 2, 1))
    for rank in range(1, len(ranks) + 1):
        ax.plot([rank, rank], [0, 0.15], color="black", linewidth=1)
        ax.text(rank, 0.3, str(rank), ha="center", fontsize=8)
    ax.axis("off")
