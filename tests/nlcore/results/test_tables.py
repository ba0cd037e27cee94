"""Stored results read again, summarised over seeds, and as curves over the epochs."""

import math

import numpy as np
import pandas as pd
import pytest

from nlcore import InputError, Result, TrainConfig
from nlcore.results.tables import curves, read_results, readable, summary


def made_result(**changes) -> Result:
    values = {
        "config": TrainConfig(epochs=2).resolved(),
        "noise": {"kind": "symmetric", "rate": 0.4, "realised_rate": 0.36, "identity": "symmetric rate=0.4"},
        "network": {"name": "digits_cnn", "stem": "3x3", "parameters": 3, "count": 1},
        "history": [{"epoch": 1, "test_accuracy": 97.25}, {"epoch": 2, "test_accuracy": 96.94}],
        "best": 97.25,
        "last": 96.94,
        "last10": 97.095,
        "fair": None,
        "images": 1347,
        "samples": {"index": [0, 1]},
        "wall_seconds": 1.5,
        "peak_memory_mb": 321.5,
        "environment": {"device": "cpu: made", "code": "abc"},
    }
    return Result(**values | changes)


def test_the_reader_gives_one_row_a_file(tmp_path):
    made_result().save(tmp_path / "a")
    made_result(config=TrainConfig(epochs=2, seed=3, method="ce").resolved(), last=12.0).save(tmp_path / "b" / "c")
    table = read_results(tmp_path)
    assert table["seed"].tolist() == [0, 3] and table["method"].tolist() == ["tssd", "ce"]
    assert table["last"].tolist() == [96.94, 12.0] and table["realised_rate"].tolist() == [0.36, 0.36]
    assert table["path"].tolist() == [str(tmp_path / "a" / "result.json"), str(tmp_path / "b" / "c" / "result.json")]


def test_an_empty_folder_gives_an_empty_table(tmp_path):
    assert len(read_results(tmp_path)) == 0


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"config": {}}'])
def test_the_reader_leaves_a_damaged_file_out_and_says_so_in_one_line(tmp_path, content, caplog):
    made_result().save(tmp_path / "good")
    (tmp_path / "bad.json").write_text(content)
    assert read_results(tmp_path)["path"].tolist() == [str(tmp_path / "good" / "result.json")]
    (message,) = caplog.messages
    assert "bad.json is not a result file" in message and "\n" not in message


def test_the_reader_does_not_look_into_hidden_folders(tmp_path):
    made_result().save(tmp_path / ".unfinished" / "cell")
    assert len(read_results(tmp_path)) == 0


def rows(last: list[float], **changes) -> pd.DataFrame:
    """Made runs that differ in their seed and accuracy."""
    cell = {"dataset": "digits", "noise": "symmetric", "rate": 0.4, "method": "ce", "preset": "tuned"} | changes
    numbers = [{"best": x + 2, "last": x, "last10": x - 1, "seed": seed} for seed, x in enumerate(last)]
    return pd.DataFrame(
        [
            cell | number | {"subset": None, "epochs": 30, "realised_rate": None, "settings": {}, "path": ""}
            for number in numbers
        ]
    )


def test_summary_is_mean_and_sample_deviation():
    table = summary(pd.concat([rows([90.0, 92.0, 97.0]), rows([50.0, 60.0], method="tssd")]))
    ce, tssd = table.loc[("digits", "symmetric", 0.4, "ce", "tuned")], table.iloc[1]
    assert (ce["last_mean"], ce["best_mean"], ce["last10_mean"]) == (93.0, 95.0, 92.0)
    assert math.isclose(ce["last_std"], math.sqrt((9 + 1 + 16) / 2))
    assert (ce["n"], tssd["n"]) == (3, 2)
    assert readable(table)["last"].tolist() == ["93.0 ± 3.6", "55.0 ± 7.1"]


def test_one_seed_has_no_deviation():
    table = summary(rows([90.0]))
    assert math.isnan(table["last_std"].iloc[0])
    assert readable(table)["last"].tolist() == ["90.0 (n = 1)"]


def test_what_is_no_number_is_not_shown_as_one():
    assert readable(summary(rows([math.nan, math.nan])))["last"].tolist() == ["not available"]


def test_cells_without_a_nominal_rate_are_summarised_too():
    table = summary(pd.concat([rows([90, 92], noise="human:worst", rate=None), rows([80, 84])]))
    assert table["n"].tolist() == [2, 2] and table["last_mean"].tolist() == [91, 82]


def test_summary_refuses_a_seed_twice():
    with pytest.raises(InputError, match=r"more than one run of digits symmetric 0\.4 ce tuned with seed 0"):
        summary(pd.concat([rows([90.0]), rows([80.0])]))


@pytest.mark.parametrize("change", [{"epochs": 60}, {"subset": 100}])
def test_summary_refuses_runs_that_do_not_belong_together(change):
    with pytest.raises(InputError, match=r"different length or subset in digits symmetric 0\.4 ce tuned"):
        summary(pd.concat([rows([90.0]), rows([80.0]).assign(seed=1, **change)]))


def test_summary_refuses_runs_with_other_settings(tmp_path):
    for seed, rate in enumerate((0.1, 0.2)):
        config = TrainConfig(method="ce", epochs=2, seed=seed, learning_rate=rate).resolved()
        made_result(config=config).save(tmp_path / str(seed))
    with pytest.raises(InputError, match=r"in digits symmetric 0\.4 ce tuned: learning_rate=0\.1, learning_rate=0\.2"):
        summary(read_results(tmp_path))


@pytest.fixture
def two_seeds(tmp_path) -> pd.DataFrame:
    """Runs of two seeds as they are read again, the later seed first."""
    for folder, seed, accuracy in (("a", 1, [1.0, 2.0]), ("b", 0, [90.0, 95.5])):
        config = TrainConfig(method="ce", epochs=2, seed=seed).resolved()
        made_result(config=config, history=[{"test_accuracy": x} for x in accuracy]).save(tmp_path / folder)
    return read_results(tmp_path)


def test_curves_are_seeds_by_epochs(two_seeds):
    assert two_seeds["seed"].tolist() == [1, 0]
    np.testing.assert_array_equal(curves(two_seeds)["ce"], [[90.0, 95.5], [1.0, 2.0]])


def test_curves_refuse_a_mixture_of_cells(two_seeds):
    with pytest.raises(InputError, match="curves need runs of one"):
        curves(pd.concat([two_seeds, two_seeds.assign(rate=0.3)]))
