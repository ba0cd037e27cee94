"""Comparisons over cells and seeds, with numbers that can be worked out by hand."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import studentized_range, ttest_rel

from nlcore.study.arena import (
    STOPPED,
    average_ranks,
    cell_means,
    cell_table,
    contenders,
    critical_difference,
    indistinguishable,
    mining_table,
    over_cells,
    paired_differences,
    rank_figure,
    verdict_table,
)


def made(last: dict[tuple[str, str, int], float]) -> pd.DataFrame:
    """Runs from (noise, method, seed) -> accuracy."""
    rows = [
        {"dataset": "glyphs", "subset": None, "noise": noise, "rate": 0.4, "method": method, "seed": seed}
        | {"networks": 1, "holdout": 0.0, "last": value, "best": value + 1, "fair": None}
        for (noise, method, seed), value in last.items()
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def frame() -> pd.DataFrame:
    values = {"ce": (70.0, 60.0), "dividemix": (80.0, 75.0), "tssd": (82.0, 74.0)}
    step = {"ce": 0.0, "dividemix": 1.0, "tssd": 1.5}
    return made(
        {
            (noise, method, seed): value[k] + seed * step[method]
            for method, value in values.items()
            for k, noise in enumerate(("symmetric", "idn_xia"))
            for seed in range(3)
        }
    )


def test_a_hold_out_and_a_second_network_make_other_contenders(frame):
    rows = frame.iloc[:2].assign(method=["ce", "elr"], holdout=[0.1, 0.0], networks=[1, 2], fair=[66.0, None])
    runs = contenders(pd.concat([frame, rows]), "best")
    assert runs["contender"].tolist()[-2:] == [STOPPED, "elr+"]
    assert runs["score"].tolist()[-2:] == [66.0, rows["best"].iloc[1]]  # the chosen epoch, whatever is asked for
    assert set(runs["contender"][:-2]) == {"ce", "dividemix", "tssd"}


def test_means_and_deviations_are_over_the_seeds_of_a_cell(frame):
    runs = contenders(frame)
    means = cell_means(runs)
    assert means["tssd"].tolist() == [83.5, 75.5] and means["ce"].tolist() == [70.0, 60.0]
    assert cell_table(runs)["dividemix"].tolist() == ["81.0 ± 1.0", "76.0 ± 1.0"]
    one = cell_table(
        contenders(frame[(frame["seed"] == 0) & ((frame["method"] != "ce") | (frame["noise"] != "idn_xia"))])
    )
    assert one["ce"].tolist() == ["70.0", "not available"]


def test_differences_are_paired_by_seed(frame):
    table = paired_differences(contenders(frame), "dividemix").set_index(["noise", "contender"])
    row = table.loc[("symmetric", "tssd")]
    ours = frame[(frame["noise"] == "symmetric") & (frame["method"] == "tssd")]["last"].to_numpy()
    theirs = frame[(frame["noise"] == "symmetric") & (frame["method"] == "dividemix")]["last"].to_numpy()
    interval = ttest_rel(ours, theirs).confidence_interval(0.95)
    assert row["mean"] == pytest.approx((ours - theirs).mean()) and row["n"] == 3
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert "dividemix" not in table.index.get_level_values("contender")


def test_a_seed_that_one_of_the_two_lacks_is_left_out(frame):
    short = frame[~((frame["method"] == "tssd") & (frame["seed"] == 1))]
    table = paired_differences(contenders(short), "dividemix").set_index(["noise", "contender"])
    assert table.loc[("symmetric", "tssd"), "n"] == 2 and table.loc[("symmetric", "tssd"), "mean"] == 2.5
    single = paired_differences(contenders(frame[frame["seed"] == 0]), "ce")
    assert np.isinf(single["low"]).all() and len(paired_differences(contenders(frame), "ssr")) == 0


def test_over_cells_names_the_worst_cell(frame):
    table = over_cells(paired_differences(contenders(frame), "dividemix"))
    assert table.index.tolist() == ["tssd", "ce"]
    assert table.loc["tssd", ["cells", "mean", "worst"]].tolist() == [2, 1.0, -0.5]


def with_histories(frame: pd.DataFrame, folder, lasts: list[dict]) -> pd.DataFrame:
    """Runs whose stored files end with these epochs."""
    paths = [folder / f"{number}.json" for number in range(len(lasts))]
    for path, last in zip(paths, lasts, strict=True):
        path.write_text(json.dumps({"history": [{"epoch": 1}, last]}))
    return contenders(frame.assign(path=[str(path) for path in paths]))


def test_what_mining_adds_is_read_from_the_last_division(tmp_path):
    runs = made({("symmetric", "tssd", seed): 90.0 for seed in range(3)})
    certain = {"size": 50, "precision": 0.9, "recall": 0.6}
    lasts = [
        {"sets": {"positive": certain, "mined": {"size": 10, "precision": right}}, "labelled": {"f1": f1}}
        for right, f1 in ((0.8, 0.75), (0.6, 0.73))
    ] + [{"sets": {"positive": certain, "mined": {"size": 0, "precision": None}}, "labelled": {"f1": 0.72}}]
    (row,) = mining_table(with_histories(runs, tmp_path, lasts)).to_dict("records")
    assert row["mined"] == pytest.approx(20 / 3) and row["right"] == pytest.approx(70)  # of those that mined at all
    assert row["without"] == pytest.approx(72) and row["F1"] == pytest.approx(100 * (0.75 + 0.73 + 0.72) / 3)
    assert row["gain"] == pytest.approx(row["F1"] - row["without"])


def test_verdicts_stand_beside_predictions_and_cells_without_any_are_left_out(tmp_path):
    runs = made({(noise, "anchor", 0): 90.0 for noise in ("symmetric", "idn_xia")})
    said = {"used": 4, "right": 0.75, "argmax_right": 0.5, "all": 8, "all_right": 0.5, "all_argmax_right": None}
    table = verdict_table(with_histories(runs, tmp_path, [{"verdicts": said}, {}]))
    assert table.index.get_level_values("noise").tolist() == ["symmetric"]
    (row,) = table.to_dict("records")
    assert (row["used"], row["right"], row["lead"]) == (4, 75, 25) and np.isnan(row["all_argmax_right"])
    assert verdict_table(contenders(runs.assign(path="none", method="ce"))).empty


def test_ranks_are_averaged_over_the_cells_in_which_all_ran(frame):
    means = cell_means(contenders(frame))
    assert average_ranks(means).to_dict() == {"dividemix": 1.5, "tssd": 1.5, "ce": 3.0}
    means.iloc[1, means.columns.get_loc("ce")] = np.nan
    assert average_ranks(means).to_dict() == {"tssd": 1.0, "dividemix": 2.0, "ce": 3.0}


def test_the_critical_difference_of_demsars_example():
    """Four classifiers on 14 data sets: 2.569 sqrt(4 * 5 / (6 * 14)) = 1.25 (Demsar 2006, section 3.2.2)."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.01)
    assert studentized_range.ppf(0.95, 4, np.inf) / np.sqrt(2) == pytest.approx(2.569, abs=1e-3)


def test_bars_join_the_longest_stretches():
    ranks = pd.Series({"a": 1.0, "b": 1.8, "c": 2.5, "d": 4.5})
    assert indistinguishable(ranks, 1.0) == [(1.0, 1.8), (1.8, 2.5)]
    assert indistinguishable(ranks, 2.0) == [(1.0, 2.5), (2.5, 4.5)]
    assert indistinguishable(ranks, 0.1) == []


def test_the_figure_names_every_contender_with_its_rank(frame):
    figure, ax = plt.subplots()
    rank_figure(ax, cell_means(contenders(frame)), {"ce": "CE"})
    words = [text.get_text() for text in ax.texts]
    assert "CE  3.0" in words and "tssd  1.5" in words
    assert "2 cells" in ax.get_title()
    plt.close(figure)
