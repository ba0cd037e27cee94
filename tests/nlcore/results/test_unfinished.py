"""What is known of cells that are not finished."""

import json
from dataclasses import replace

import pytest

from nlcore import TrainConfig
from nlcore.results.tables import read_results
from nlcore.results.unfinished import PARTIAL, History, expected_seconds, in_order

CELL = TrainConfig(method="dividemix", subset=100, epochs=10, warmup_epochs=2)


def rows(warmup: int, later: int, seconds: tuple[float, float] = (1.0, 5.0)) -> list[dict]:
    """A history of so many epochs, each of so many seconds."""
    parts = [("warmup", seconds[0])] * warmup + [("ssl", seconds[1])] * later
    return [{"epoch": n, "phase": phase, "seconds": took} for n, (phase, took) in enumerate(parts, 1)]


def store(folder, name: str, config: TrainConfig, history: list[dict], **values) -> None:
    values |= {"config": config.resolved().to_dict(), "history": history}
    (folder / f"{name}.json").write_text(json.dumps(values))


# -- the history so far


def test_a_history_grows_and_is_there_after_the_first_epoch(tmp_path):
    history = History(tmp_path / f"a{PARTIAL}", CELL)
    history.write()
    assert list(tmp_path.iterdir()) == []  # nothing to tell
    for row in rows(1, 2):
        history.add(row)
    assert json.loads(history.path.read_text())["history"] == rows(1, 0)  # the others follow later
    history.write()
    stored = json.loads(history.path.read_text())
    assert stored["history"] == rows(1, 2) and stored["config"] == json.loads(json.dumps(CELL.resolved().to_dict()))


def test_a_history_goes_on_where_the_last_call_left_it_and_repeats_no_epoch(tmp_path):
    path = tmp_path / f"a{PARTIAL}"
    first = History(path, CELL)
    first.rows = rows(2, 3)
    first.write()
    again = History(path, CELL)
    again.add({"epoch": 4, "phase": "ssl", "seconds": 9.0})  # from an older checkpoint
    assert [(row["epoch"], row["seconds"]) for row in again.rows] == [(1, 1.0), (2, 1.0), (3, 5.0), (4, 9.0)]
    assert History(path, replace(CELL, seed=1)).rows == []
    again.forget()
    assert not path.exists()


def test_what_is_no_number_is_null_in_a_history(tmp_path):
    history = History(tmp_path / f"a{PARTIAL}", CELL)
    history.add({"epoch": 1, "seconds": 1.0, "meta_auc": float("nan")})
    assert json.loads(history.path.read_text())["history"][0]["meta_auc"] is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_history_is_begun_anew(tmp_path, text):
    path = tmp_path / f"a{PARTIAL}"
    path.write_text(text)
    assert History(path, CELL).rows == []


def test_a_partial_history_is_no_result_and_nothing_is_said_about_it(tmp_path, caplog):
    History(tmp_path / f"a{PARTIAL}", CELL).add(rows(1, 0)[0])
    assert len(read_results(tmp_path)) == 0 and caplog.text == ""


# -- how long a cell takes


def test_nobody_knows_how_long_the_first_of_its_kind_takes(tmp_path):
    store(tmp_path, "other", replace(CELL, method="tssd"), rows(2, 8), wall_seconds=60)
    store(tmp_path, "two", replace(CELL, networks=2), rows(2, 8), wall_seconds=60)
    (tmp_path / "notes.json").write_text("{")
    assert expected_seconds(CELL, tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 2 * 1 + 8 * 5 + 3),
        ({"seed": 7, "noise": "asymmetric", "rate": 0.2}, 2 * 1 + 8 * 5 + 3),
        ({"epochs": 20, "warmup_epochs": 2}, 2 * 1 + 18 * 5 + 3),
        ({"epochs": 20, "warmup_epochs": 10}, 10 * 1 + 10 * 5 + 3),
    ],
    ids=str,
)
def test_a_cell_takes_as_long_as_one_of_its_kind_epoch_for_epoch(tmp_path, changes, seconds):
    store(tmp_path, "one", CELL, rows(2, 8), wall_seconds=45.0)
    assert expected_seconds(replace(CELL, **changes), tmp_path) == pytest.approx(seconds)


def test_the_slowest_of_several_counts(tmp_path):
    for name, slower in (("a", 1.0), ("b", 3.0), ("c", 2.0)):
        store(tmp_path, name, CELL, rows(2, 8, (slower, 5 * slower)), wall_seconds=42 * slower)
    assert expected_seconds(CELL, tmp_path) == pytest.approx(3 * 42)


def test_a_partial_history_says_it_too_once_it_is_past_the_warm_up(tmp_path):
    store(tmp_path, "a.partial", CELL, rows(2, 0))
    assert expected_seconds(replace(CELL, seed=1), tmp_path) is None
    store(tmp_path, "a.partial", CELL, rows(2, 1))
    assert expected_seconds(replace(CELL, seed=1), tmp_path) == pytest.approx(42)


# -- what comes first


EXPECTED = {"short": 10.0, "long": 80.0, "middle": 40.0, "endless": 500.0}


@pytest.mark.parametrize(
    ("seconds", "places", "order"),
    [
        (100, 2, ["long", "middle", "short", "endless"]),  # all that can ever fit, the longest first
        (100, 1, ["long", "short", "middle", "endless"]),  # as they come, until the time is full
        (45, 1, ["short", "middle", "long", "endless"]),
        (1000, 1, ["endless", "long", "middle", "short"]),
    ],
)
def test_what_fits_comes_first_and_the_longest_of_it_at_the_front(seconds, places, order):
    assert in_order(EXPECTED, EXPECTED, set(), places, seconds) == order


def test_what_has_a_checkpoint_goes_on_before_anything_begins():
    assert in_order(EXPECTED, EXPECTED, {"endless", "short"}, 9, 100) == ["short", "endless", "long", "middle"]


def test_without_any_time_known_the_order_stays():
    assert in_order("cab", dict.fromkeys("cab"), set(), 1, 1.0) == ["c", "a", "b"]


def test_a_cell_that_nobody_has_measured_is_as_long_as_the_mean():
    assert in_order("abc", {"a": 10.0, "b": None, "c": 30.0}, set(), 3, 100) == ["c", "b", "a"]
