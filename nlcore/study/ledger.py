"""The reproduction ledger: what a stored row says, and the rule that turns its numbers into a verdict.

A row is a claim with the numbers that one experiment gave for each condition and seed, and with the differences between
them that decide. Verdicts are never stored: they follow from the numbers, so nobody can type one in.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nlcore.basics.files import user_path

FEWEST = 3  # seeds that can confirm anything
VERDICTS = ("holds", "some hold", "only leans", "contradicted", "not available", "open")
DECIDED = VERDICTS[:4]
# the same with "some hold" and "only leans" told apart by how many tests hold and fail; the last two are undecided
GRADES = ("holds", "most hold", "few hold", "most fail", "only leans", "contradicted", "not available", "open")


def t_interval(values: list[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of n values and the ends of Student's interval around it: mean ± t sd / sqrt(n), with n - 1 degrees of
    freedom.

    One value says nothing about its own spread: its interval is unbounded.
    """
    from scipy.stats import t

    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return mean, -math.inf, math.inf
    half = float(t.ppf((1 + level) / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def differences(row: dict[str, Any], level: float = 0.95) -> pd.DataFrame:
    """What decides a row: one line for each condition and test, with its mean over the seeds and its interval.

    Parameters
    ----------
    row : as stored. `values` maps condition -> seed -> name -> number; `tests` maps the name of a test to two names, or
        a name and a constant, whose difference should be larger than the `margin`. A condition that lacks one of the
        two is not tested; a seed whose number is missing is left out.
    level : of the intervals.

    Returns
    -------
    Columns condition, test, n, mean, low, high, outcome: "fails" if the mean is not above the margin; else "too few"
    with less than `FEWEST` seeds, "holds" if the whole interval lies above the margin, "leans" if only the mean does.
    """
    lines = []
    for condition, seeds in row["values"].items():
        for test, pair in row["tests"].items():
            found = [_difference(numbers, *pair) for numbers in seeds.values()]
            found = [value for value in found if value is not None]
            if found:
                mean, low, high = t_interval(found, level)
                outcome = "holds" if low > row["margin"] else "leans"
                if len(found) < FEWEST:
                    outcome = "too few"
                if not mean > row["margin"]:
                    outcome = "fails"
                lines.append((condition, test, len(found), mean, low, high, outcome))
    return pd.DataFrame(lines, columns=["condition", "test", "n", "mean", "low", "high", "outcome"])


def _difference(numbers: dict[str, float | None], first: str, second: str | float) -> float | None:
    upper = numbers.get(first)
    lower = numbers.get(second) if isinstance(second, str) else second
    return None if upper is None or lower is None else upper - lower


def verdict(row: dict[str, Any], level: float = 0.95) -> str:
    """One of `VERDICTS`.

    `not available` if the row says why it cannot be decided here, `open` if no test has `FEWEST` seeds. Else, over all
    conditions: `holds` if every test holds, `some hold` if one does, `contradicted` if every one fails, and `only
    leans` if none holds and not all fail. A test with too few seeds can only count against a claim.
    """
    if row["unavailable"]:
        return "not available"
    tests = differences(row, level)
    if not (tests["n"] >= FEWEST).any():
        return "open"
    outcomes = set(tests["outcome"]) - {"too few"}
    if "holds" in outcomes:
        return "holds" if outcomes == {"holds"} else "some hold"
    return "contradicted" if outcomes == {"fails"} else "only leans"


def graded_verdict(row: dict[str, Any], level: float = 0.95) -> str:
    """One of `GRADES`: the verdict, in a word that says how many tests it rests on.

    Where neither all tests hold nor all fail: `most fail` if more than half of those with enough seeds do; else `most
    hold` if more than half hold, `few hold` if any does, and `only leans` if none does.
    """
    word = verdict(row, level)
    if word not in ("some hold", "only leans"):
        return word
    outcomes = differences(row, level)["outcome"]
    counted = outcomes[outcomes != "too few"]
    if (counted == "fails").mean() > 0.5:
        return "most fail"
    held = (counted == "holds").mean()
    return "most hold" if held > 0.5 else "few hold" if held else word


def read_ledger(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Every stored row by its id, TSSD's before Anchor Hallucination's; claims, then questions, then warnings."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in user_path(folder).glob("[!.]*.json")]
    rows.sort(key=lambda row: (row["paper"] != "tssd", "TAQW".index(row["id"][0]), int(row["id"][1:])))
    return {row["id"]: row for row in rows}
