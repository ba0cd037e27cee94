"""The arena's grid, its label scores, and results that are short enough for a repository."""

import json

import torch

from benchmark import arena
from nlcore import TrainConfig
from nlcore.methods import METHODS
from nlcore.results.grids import read_grid
from nlcore.results.sweep import is_stored, run_cell
from nlcore.results.tables import read_results


def test_the_grid_has_every_method_in_every_cell_with_five_seeds():
    cells = read_grid(arena.GRID).values()
    parts = {(c.dataset, c.noise, c.rate) for c in cells}
    assert len(parts) == 5 + 9 + 7
    plain = [c for c in cells if not c.holdout and (c.dataset == "glyphs" or c.subset == 20_000)]
    for method in METHODS:
        own = [c for c in plain if c.method == method and (method != "elr" or c.networks == 1)]
        assert {(c.dataset, c.noise, c.rate) for c in own} == parts and {c.seed for c in own} == set(range(5))
    assert {c.preset for c in cells} == {"tuned"} and {c.threads for c in cells} == {1}


def test_a_score_cell_is_what_runs_of_all_methods_share():
    cells = arena.score_cells()
    assert len(cells) == 21 * 5 + 16
    assert cells["cifar10_features_n20000_human-worst_seed3"].noise == "human:worst"


def test_a_cell_stores_how_every_score_orders_its_labels():
    config = TrainConfig(noise="symmetric", rate=0.4, subset=300, device="cpu").resolved()
    values = json.loads(json.dumps(arena.measured(config)))
    assert (values["dataset"], values["subset"], values["rate"], values["seed"]) == ("digits", 300, 0.4, 0)
    assert set(values["scores"]) == {"p, in-sample", "p, out-of-fold", "margin, out-of-fold", "neighbours"}
    assert all(0.8 < order["auroc"] <= 1 for order in values["scores"].values())
    assert values["environment"]["torch"] == torch.__version__


def test_a_shortened_result_is_read_and_kept_as_before(tmp_path):
    config = TrainConfig(subset=100, epochs=3, method="tssd", device="cpu", holdout=0.2)
    run_cell(config, tmp_path)
    (path,) = tmp_path.glob("*.json")
    before, row = path.stat().st_size, read_results(tmp_path).iloc[0].drop("path")
    history = json.loads(path.read_text())["history"]
    arena.shorten(path)
    after = json.loads(path.read_text())["history"]
    assert path.stat().st_size < 0.7 * before and after[-1] == history[-1]
    for short, whole in zip(after[:-1], history[:-1], strict=True):
        assert short == {name: whole[name] for name in ("epoch", "test_accuracy", "holdout_accuracy")}
    again = read_results(tmp_path).iloc[0].drop("path")
    assert again.equals(row) and is_stored(config, tmp_path)
