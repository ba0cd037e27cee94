"""Ours beside published: what stands in one row, and that nothing is made up."""

import json
from pathlib import Path

import pandas as pd
import pytest

from nlcore import InputError, TrainConfig
from nlcore.methods import tssd
from nlcore.results.published import NOT_AVAILABLE, comparison, read_published, write_table

PUBLISHED = Path(__file__).parents[3] / "results" / "published.csv"


@pytest.fixture
def store(tmp_path):
    """`store(last, **config)`: write a made result with this last accuracy; best is 1 more, last10 1 less."""

    def write(last: float, realised: float = 0.45, fair: float | None = None, **changes) -> None:
        config = TrainConfig(**{"dataset": "cifar10", "rate": 0.5} | changes).resolved()
        values = {
            "config": config.to_dict(),
            "noise": {"realised_rate": realised},
            "images": 50_000,
            **{"best": last + 1, "last": last, "last10": last - 1, "fair": fair},
            **{"wall_seconds": 1.0, "peak_memory_mb": None},
            "environment": {"device": "cpu: made", "code": "abc"},
        }
        path = tmp_path / "results" / f"{len(list(tmp_path.rglob('*.json')))}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(values))

    write.folder = tmp_path / "results"
    return write


def test_ours_are_mean_and_deviation_over_seeds(store):
    for seed, last in enumerate([90.0, 92.0, 97.0]):
        store(last, seed=seed)
    (row,) = comparison(store.folder).to_dict("records")
    assert (row["best"], row["last"], row["last10"]) == ("94.0 ± 3.6", "93.0 ± 3.6", "92.0 ± 3.6")
    assert (row["fair"], row["n"], row["device"]) == (NOT_AVAILABLE, "3", "cpu: made")
    assert row["evidence"] == "code abc"


def test_one_and_two_networks_and_other_presets_are_rows_of_their_own(store):
    store(90.0)
    store(91.0, networks=2)
    store(92.0, preset="paper")
    table = comparison(store.folder)
    assert table["last"].tolist() == ["90.0", "91.0", "92.0"]
    assert table[["preset", "networks"]].values.tolist() == [["tuned", "1"], ["tuned", "2"], ["paper", "1"]]


def test_the_fair_choice_has_a_column_and_its_holdout_is_named(store):
    store(90.0, fair=89.5, holdout=0.05)
    (row,) = comparison(store.folder).to_dict("records")
    assert row["fair"] == "89.5" and row["evidence"] == "code abc; 5% held out"


def test_published_rows_of_the_same_setting_come_first(store):
    store(90.0)
    store(80.0, noise="human:worst", realised=0.4021)
    table = comparison(store.folder, read_published(PUBLISHED))
    symmetric = table[table["noise"] == "symmetric"]
    assert set(symmetric["rate"]) == {"0.5"} and symmetric["source"].tolist()[-1] == "ours"
    assert set(symmetric["source"].tolist()[:-1]) == {"published"}
    dividemix = symmetric[(symmetric["method"] == "DivideMix")].iloc[0]
    assert (dividemix["best"], dividemix["last"], dividemix["networks"]) == ("94.6", NOT_AVAILABLE, "2")
    worst = table[table["noise"] == "human:worst"]
    assert "92.6 ± 0.4" in worst["best"].tolist() and worst["source"].tolist()[-1] == "ours"


def test_a_label_file_goes_by_its_folder_and_its_real_rate(store):
    store(90.0, noise="file:cal-idn/IDN_0.4_C10.pt", realised=0.4033)
    table = comparison(store.folder, read_published(PUBLISHED))
    assert set(table["noise"]) == {"file:cal-idn"} and set(table["rate"]) == {"0.4"}
    recalled = table[table["evidence"] == "recalled"]
    assert set(recalled["method"]) == {"TSCSI", "DivideMix"}


def test_a_source_that_does_not_say_which_epoch_is_shown_as_such(store):
    store(90.0, rate=0.2)
    table = comparison(store.folder, read_published(PUBLISHED))
    (row,) = table[(table["method"] == "TSSD") & (table["source"] == "published")].to_dict("records")
    assert row["best"] == "96.7" and "best or last not stated" in row["evidence"]


def test_the_table_is_markdown_and_a_file_of_either_kind(store, tmp_path):
    store(90.0)
    table = comparison(store.folder)
    text = write_table(table, tmp_path / "new" / "t.md")
    assert (tmp_path / "new" / "t.md").read_text() == text + "\n"
    header, rule, row = text.splitlines()
    assert header.count("|") == rule.count("|") == row.count("|") == len(table.columns) + 1
    write_table(table, tmp_path / "t.csv")
    again = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert again.values.tolist() == table.values.tolist()


def test_the_same_cell_twice_is_refused_by_name(store):
    store(90.0)
    store(91.0)
    with pytest.raises(InputError, match=r"the same run with seed 0 more than once; keep one of: .*0\.json, .*1\.json"):
        comparison(store.folder)


def test_runs_with_other_settings_are_no_seeds_of_one_row(store):
    for seed, tau in enumerate((0.5, 0.9, 0.9)):
        store(90.0 + seed, seed=seed, settings=tssd.TSSDConfig(tau=tau))
    store(80.0, seed=3, method="ce", noise_options={"include_true": False})
    store(70.0, seed=4, method="ce", learning_rate=0.5)
    first, others, *ce = comparison(store.folder).to_dict("records")
    assert (first["last"], first["n"], first["evidence"]) == ("90.0", "1", "code abc; tau=0.5")
    assert (others["last"], others["n"], others["evidence"]) == ("91.5 ± 0.7", "2", "code abc; tau=0.9")
    assert [row["last"] for row in ce] == ["80.0", "70.0"]
    assert all("learning_rate=" in row["evidence"] for row in ce)


def test_label_files_of_one_folder_are_no_seeds_of_one_row(store):
    store(90.0, noise="file:folder/first.pt")
    store(80.0, noise="file:folder/second.pt", seed=1)
    store(84.0, noise="file:/elsewhere/folder/second.pt", seed=2)
    table = comparison(store.folder)
    assert table["last"].tolist() == ["90.0", "82.0 ± 2.8"] and set(table["noise"]) == {"file:folder"}
    assert table["evidence"].tolist() == ["code abc; noise=file:first.pt", "code abc; noise=file:second.pt"]


def test_a_result_of_a_method_that_is_not_here_goes_by_its_name(store):
    store(90.0)
    path = next(store.folder.glob("*.json"))
    path.write_text(path.read_text().replace('"method": "tssd"', '"method": "sop"'))
    assert comparison(store.folder)["method"].tolist() == ["sop"]


ROW = "cifar10,symmetric,0.5,Made,1,best,90.0,0.5,here"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (ROW.replace("90.0", "high"), "line 3: value 'high' is no number"),
        (ROW.replace("0.5,Made", "half,Made"), "line 3: rate 'half' is no number"),
        (ROW.replace("Made,1", "Made,two"), "line 3: networks 'two' is no number"),
        (ROW + ",one,more", "cannot read"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, row, words):
    header = "dataset,noise,rate,method,networks,statistic,value,std,evidence"
    (tmp_path / "p.csv").write_text(f"{header}\n{ROW}\n{row}\n")
    with pytest.raises(InputError, match=words) as error:
        read_published(tmp_path / "p.csv")
    assert "\n" not in str(error.value)


def test_a_published_table_may_be_empty_or_lack_a_number(store, tmp_path):
    store(90.0)
    header = "dataset,noise,rate,method,networks,statistic,value,std,evidence"
    (tmp_path / "p.csv").write_text(f"{header}\n")
    assert len(comparison(store.folder, read_published(tmp_path / "p.csv"))) == 1
    (tmp_path / "p.csv").write_text(f"{header}\n{ROW.replace('90.0,0.5', ',')}\n{ROW.replace('90.0', 'nan')}\n")
    table = comparison(store.folder, read_published(tmp_path / "p.csv"))
    assert table["best"].tolist() == [NOT_AVAILABLE, NOT_AVAILABLE, "91.0"] and table["networks"].iloc[0] == "1"
    (tmp_path / "p.csv").write_text("")
    with pytest.raises(InputError, match="cannot read"):
        read_published(tmp_path / "p.csv")


def test_a_folder_without_results_and_a_broken_table_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no result"):
        comparison(tmp_path)
    (tmp_path / "p.csv").write_text("dataset,noise\n")
    with pytest.raises(InputError, match="has no column 'rate'"):
        read_published(tmp_path / "p.csv")
    with pytest.raises(InputError, match="cannot read"):
        read_published(tmp_path / "none.csv")
