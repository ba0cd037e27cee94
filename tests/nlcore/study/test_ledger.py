"""Verdicts follow from numbers by one rule."""

import json
import math
import statistics

import pytest

from nlcore.study.ledger import (
    DECIDED,
    GRADES,
    VERDICTS,
    differences,
    graded_verdict,
    read_ledger,
    t_interval,
    verdict,
)

CLEARLY, BARELY, AGAINST = (4.0, 5.0, 6.0), (-1.0, 0.5, 4.0), (-3.0, -2.0, -2.5)


def row(*conditions: tuple[float, ...], margin: float = 0.0, unavailable: str = "") -> dict:
    """A made row with one test; each condition has these differences, seed by seed."""
    values = {f"c{k}": {str(s): {"a": 50 + d, "b": 50.0} for s, d in enumerate(d)} for k, d in enumerate(conditions)}
    return {"values": values, "tests": {"a over b": ["a", "b"]}, "margin": margin, "unavailable": unavailable}


def test_the_interval_is_students():
    mean, low, high = t_interval([1.0, 2.0, 6.0])
    half = 4.302652729749464 * statistics.stdev([1, 2, 6]) / math.sqrt(3)  # from a table: 95 %, 2 degrees of freedom
    assert (mean, low, high) == pytest.approx((3, 3 - half, 3 + half))
    assert t_interval([1.0, 2.0, 6.0], 0.5)[1] > low


def test_one_value_has_no_interval():
    assert t_interval([7.0]) == (7.0, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([CLEARLY], "holds"),
        ([CLEARLY, CLEARLY], "holds"),
        ([BARELY], "only leans"),  # the mean is above, its interval is not
        ([CLEARLY, BARELY], "some hold"),
        ([CLEARLY, AGAINST], "some hold"),
        ([BARELY, AGAINST], "only leans"),
        ([AGAINST], "contradicted"),
        ([AGAINST, AGAINST], "contradicted"),
        ([(0.0, 0.0, 0.0)], "contradicted"),  # no difference is no support
        ([(5.0,)], "open"),
        ([(5.0, 5.1)], "open"),
        ([(-5.0,)], "open"),
        ([], "open"),
        ([CLEARLY, (5.0,)], "holds"),  # too few seeds do not confirm, and do not refute
        ([CLEARLY, (-5.0,)], "some hold"),  # ... but they can count against
        ([AGAINST, (5.0,)], "contradicted"),
        ([BARELY, (-5.0,)], "only leans"),
    ],
)
def test_the_verdict_follows_from_the_differences(conditions, expected):
    assert verdict(row(*conditions)) == expected
    assert expected in VERDICTS


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([CLEARLY, CLEARLY], "holds"),
        ([CLEARLY, CLEARLY, BARELY], "most hold"),
        ([CLEARLY, BARELY, BARELY], "few hold"),
        ([CLEARLY, AGAINST], "few hold"),  # half fail, which is not most
        ([CLEARLY, AGAINST, AGAINST], "most fail"),
        ([BARELY, AGAINST, AGAINST], "most fail"),
        ([BARELY, BARELY, AGAINST], "only leans"),
        ([CLEARLY, BARELY, (5.0,)], "few hold"),  # a condition with one seed is not counted
        ([AGAINST], "contradicted"),
        ([(5.0,)], "open"),
    ],
)
def test_a_grade_says_how_many_tests_hold(conditions, expected):
    assert graded_verdict(row(*conditions)) == expected in GRADES


def test_a_margin_has_to_be_passed():
    assert verdict(row(CLEARLY, margin=1.0)) == "holds"
    assert verdict(row(CLEARLY, margin=4.5)) == "only leans"
    assert verdict(row(CLEARLY, margin=9.0)) == "contradicted"


def test_a_wider_interval_confirms_less():
    assert verdict(row(CLEARLY), level=0.95) == "holds"
    assert verdict(row(CLEARLY), level=0.999) == "only leans"


def test_a_row_that_cannot_be_decided_here_says_so_whatever_its_numbers():
    assert verdict(row(CLEARLY, unavailable="no such machine")) == "not available"


def test_every_verdict_can_be_reached():
    rows = [row(CLEARLY), row(CLEARLY, AGAINST), row(BARELY, AGAINST), row(AGAINST), row(unavailable="why"), row()]
    assert tuple(map(verdict, rows)) == VERDICTS and tuple(map(verdict, rows[:4])) == DECIDED


def test_differences_by_condition_and_test():
    made = row(CLEARLY)
    made["tests"]["a over 51"] = ["a", 51]
    made["tests"]["of numbers that this condition lacks"] = ["a", "elsewhere"]
    made["values"]["c0"]["3"] = {"a": None, "b": 1.0}  # a seed without a number is left out
    table = differences(made)
    assert table[["condition", "test", "n"]].values.tolist() == [["c0", "a over b", 3], ["c0", "a over 51", 3]]
    assert table["mean"].tolist() == pytest.approx([5, 4])
    assert table["outcome"].tolist() == ["holds", "holds"]


def test_outcomes_of_single_tests():
    found = differences(row(CLEARLY, BARELY, AGAINST, (1.0, 1.0), (-1.0,)))
    assert found["outcome"].tolist() == ["holds", "leans", "fails", "too few", "fails"]


def test_rows_come_in_the_order_of_the_ledger(tmp_path):
    papers = {
        "A2": "anchor",
        "T10": "tssd",
        "W1": "tssd",
        "T9": "tssd",
        "Q1": "anchor",
        "W4": "anchor",
        "A10": "anchor",
    }
    for name, paper in papers.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"id": name, "paper": paper}))
    (tmp_path / "._W1.json").write_bytes(b"\0 made by macOS")
    assert list(read_ledger(tmp_path)) == ["T9", "T10", "W1", "A2", "A10", "Q1", "W4"]
    assert read_ledger(tmp_path / "nowhere") == {}
