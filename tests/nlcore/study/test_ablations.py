import json
from dataclasses import replace
from pathlib import Path

import pytest

from nlcore import TrainConfig
from nlcore.results.cells import cell_name
from nlcore.results.grids import read_grid
from nlcore.results.sweep import run_cell
from nlcore.study.ablations import differences, division_report, read_variants, variant_of, variants

GRID = Path(__file__).parents[3] / "benchmark" / "ablations.yml"


@pytest.mark.parametrize("method", ["tssd", "anchor", "dividemix"])
def test_the_differences_turn_one_preset_into_the_other(method):
    config = TrainConfig(method=method)
    tuned, paper = (replace(config, preset=preset).resolved() for preset in ("tuned", "paper"))
    changed = tuned
    for one in differences(config):
        home = {"training": changed, "ssl": changed.ssl, "settings": changed.settings}[one.group]
        assert getattr(home, one.field) == one.tuned != one.paper
        new = replace(home, **{one.field: one.paper})
        changed = new if one.group == "training" else replace(changed, **{one.group: new})
    assert replace(changed, preset="paper") == paper


def test_a_variant_steps_back_in_its_own_field_alone():
    found = variants(TrainConfig(method="anchor"))
    assert found["voters"].settings == replace(found["tuned"].settings, voters=10)
    assert found["voters"].ssl == found["tuned"].ssl
    assert found["all ssl"].ssl == found["paper"].ssl
    assert found["paper, tuned ssl"].ssl == found["tuned"].ssl
    assert found["paper, tuned ssl"].settings == found["paper"].settings


def test_a_variant_is_known_by_its_configuration():
    for method in ("tssd", "anchor"):
        found = variants(TrainConfig(method=method, noise="idn_xia", seed=2, subset=500))
        assert {name: variant_of(config) for name, config in found.items()} == {name: name for name in found}
        assert variant_of(replace(found["tuned"], learning_rate=0.1)) is None


def test_the_grid_holds_every_variant():
    wanted = {}
    for method in ("tssd", "anchor"):
        for noise in ("idn_xia", "symmetric"):
            for seed in range(3):
                config = TrainConfig(dataset="glyphs", noise=noise, method=method, seed=seed, device="cpu")
                wanted |= {cell_name(variant): variant for variant in variants(config).values()}
    assert read_grid(GRID) == wanted


@pytest.fixture
def small():
    return TrainConfig(subset=200, epochs=2, warmup_epochs=1, batch_size=32, device="cpu")


def test_stored_runs_are_read_with_their_variant(tmp_path):
    config = variants(TrainConfig(subset=100, epochs=2, device="cpu"))["meta"]
    run_cell(config, tmp_path)
    runs = read_variants(tmp_path)
    assert runs["variant"].tolist() == ["meta"]


def test_a_division_report_compares_the_methods_own_fields_only(small):
    report = division_report(small, methods=("tssd",))
    names = [row["variant"] for row in report["tables"]["tssd"]]
    own = [one.field for one in differences(TrainConfig(method="tssd")) if one.group == "settings"]
    assert set(names) == {"tuned", "all settings", *own}
    assert json.loads(json.dumps(report)) == report
    for row in report["tables"]["tssd"]:
        if row["precision"] and row["recall"]:
            assert row["F1"] == pytest.approx(2 / (1 / row["precision"] + 1 / row["recall"]))
