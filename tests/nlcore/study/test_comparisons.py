import math
from dataclasses import replace

import pytest
import torch

from nlcore import TrainConfig
from nlcore.methods import anchor, tssd
from nlcore.selection.division import Snapshot
from nlcore.selection.hallucination import Anchors
from nlcore.study import comparisons
from nlcore.study.comparisons import (
    after_warmup,
    correction_table,
    correctors,
    first_division_report,
    mining_table,
    report_table,
    roc_auc,
    selection_table,
)
from nlcore.training import result


@pytest.fixture(scope="module")
def made(make_snapshot):
    return make_snapshot(n=1000, k=4, rate=0.4, blur=0.7, doubt=1.5)


def generator():
    return torch.Generator().manual_seed(0)


def test_auc_is_the_chance_that_a_right_one_scores_higher(rng):
    scores, right = torch.randint(0, 6, (40,), generator=rng).float(), torch.rand(40, generator=rng) < 0.4
    pairs = [(float(a), float(b)) for a in scores[right] for b in scores[~right]]
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert roc_auc(scores, right) == pytest.approx(expected)


def test_auc_of_one_kind_only_is_nan():
    assert math.isnan(roc_auc(torch.rand(3), torch.ones(3, dtype=torch.bool)))
    assert math.isnan(roc_auc(torch.rand(3), torch.zeros(3, dtype=torch.bool)))


def test_the_selection_table_holds_every_way_with_numbers_that_fit_together(made):
    table = selection_table(made.snapshot, made.given, made.true, generator())
    assert {"loss only (DivideMix)", "joint mixture", "TSSD tuned: P and mined", "TSSD paper: P"} <= set(table.index)
    assert ((table["size"] > 0) & (table["size"] <= 1000)).all()
    right = int((made.given == made.true).sum())
    for _, row in table.iterrows():
        assert row["precision"] * row["size"] == pytest.approx(row["recall"] * right)
        assert row["F1"] == pytest.approx(2 * row["precision"] * row["recall"] / (row["precision"] + row["recall"]))


def test_the_selection_table_judges_the_methods_own_division(made):
    table = selection_table(made.snapshot, made.given, made.true, generator())
    division, _ = tssd.divide(made.snapshot, made.given, None, tssd.TSSDConfig(meta="off"), {}, generator())
    assert table.loc["TSSD tuned: P", "size"] == int(division.labelled.sum())
    right = (made.given == made.true)[division.labelled]
    assert table.loc["TSSD tuned: P", "precision"] == pytest.approx(float(right.float().mean()))


def test_the_mining_table_compares_every_way_at_the_same_number_mined(made):
    table = mining_table(made.snapshot, made.given, made.true, generator())
    assert table["mined"].nunique() == 1 and table["uncertain"].nunique() == 1
    assert 0 < table["mined"].iloc[0] < table["uncertain"].iloc[0]
    assert table["precision"].between(0, 1).all() and table["AUC"].between(0, 1).all()
    # Recall and precision count the same found samples.
    found = table["precision"] * table["mined"]
    ratio = (table["recall"] / found)[found > 0]
    assert ratio.max() == pytest.approx(ratio.min(), rel=1e-5)


def test_without_uncertain_samples_nothing_is_mined_and_nothing_breaks(make_snapshot):
    clear = make_snapshot(n=400, k=4, rate=0.4, blur=0.0)
    table = mining_table(clear.snapshot, clear.given, clear.true, generator())
    assert (table["uncertain"] == 0).all() and table["precision"].isna().all()


def test_each_corrector_on_a_hand_made_scene():
    """Two classes along two axes; four easy samples, one hard one near the first axis, given the wrong label 1."""
    features = torch.tensor([[2.0, 0.0], [2.0, 0.1], [0.0, 2.0], [0.1, 2.0], [1.9, 0.2]])
    logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.0, 4.0], [-1.0, 1.0]])  # argmax fails on the last
    given = torch.tensor([0, 0, 1, 1, 1])
    bank = {"made": Anchors(features[:1], torch.tensor([1]), torch.zeros(1, 2, dtype=torch.int64))}
    found = correctors(
        Snapshot(logits, features, torch.zeros(5)),
        given,
        torch.arange(4),
        torch.tensor([4]),
        bank,
        anchor.AnchorConfig(),
    )
    labels = {name: int(label) for name, (label, _) in found.items()}
    assert labels["given label"] == 1 and labels["argmax"] == 1
    assert labels["class means"] == 0 and labels["kNN"] == 0
    assert labels["made"] == 1  # its only anchor says so
    assert {"class means x T", "kNN x T", "made x T"} <= set(labels) and "argmax x T" not in labels
    assert labels["kNN x T, pooled"] == 0  # the votes are surer than the network, which makes the verdict less sure
    votes, network = float(found["kNN x T"][1]), float(torch.tensor([-1.0, 1.0]).softmax(0)[0])
    assert float(found["kNN x T, pooled"][1]) == pytest.approx((votes + network) / 2)
    assert all(0 <= float(confidence) <= 1 + 1e-6 for _, confidence in found.values())


def test_the_correction_table_is_precision_at_each_coverage(made):
    table = correction_table(made.snapshot, made.given, made.true, made.classify, generator(), coverages=(1.0, 0.5))
    assert list(table.columns) == ["at 100%", "at 50%"]
    assert {"given label", "argmax", "kNN x T", "hallucinator", "interpolation x T"} <= set(table.index)
    _, easy = anchor.select_easy(made.snapshot, made.given, anchor.PRESETS["tuned"])
    right = (made.given == made.true)[~easy].float()
    assert table.loc["given label", "at 100%"] == pytest.approx(float(right.mean()))
    argmax = (made.snapshot.logits.argmax(1) == made.true)[~easy].float()
    assert table.loc["argmax", "at 100%"] == pytest.approx(float(argmax.mean()))


@pytest.fixture(scope="module")
def config():
    return TrainConfig(subset=300, epochs=4, warmup_epochs=3, device="cpu")


def test_after_warm_up_the_first_division_is_still_to_come(config):
    epoch, noisy = after_warmup(config)
    assert epoch.row["phase"] == "warmup" and epoch.row["epoch"] == 3 and epoch.division is None
    assert torch.equal(epoch.state.given_labels, noisy.given_labels)


def test_the_report_of_a_first_division_is_plain_values_that_give_the_tables_back(config):
    import json

    report = json.loads(json.dumps(first_division_report(config, bins=8)))
    for kinds in report["histograms"].values():
        assert len(kinds["right"]) == 8 and sum(kinds["right"]) + sum(kinds["wrong"]) == 300
    table = report_table(report, "selection")
    assert table.loc["loss only (DivideMix)", "size"] > 0 and set(report["tables"]) == {
        "selection",
        "mining",
        "correction",
    }
    assert TrainConfig.from_dict(report["config"]).seed == 0 and 0 < report["test_accuracy"] <= 100


def test_rows_of_a_stored_report_are_named_by_what_they_hold_and_not_by_an_old_default():
    row = {"way": "meta classifier, synthetic negatives (tuned)", "precision": 0.5}
    table = report_table({"tables": {"mining": [row]}}, "mining")
    assert list(table.index) == ["meta classifier, random negatives"]


def test_a_kept_report_is_made_once_and_again_when_the_code_has_changed(tmp_path, monkeypatch):
    made = []

    def report(config):
        made.append(config.seed)
        return {"config": config.to_dict(), "environment": {"code": result.code_version()}}

    monkeypatch.setattr(comparisons, "first_division_report", report)
    config = TrainConfig(subset=100, epochs=2)
    first = comparisons.kept_division_report(config, tmp_path)
    assert comparisons.kept_division_report(config, tmp_path)["environment"] == first["environment"]
    comparisons.kept_division_report(replace(config, seed=1), tmp_path)
    assert made == [0, 1]

    monkeypatch.setattr(result, "code_version", lambda: "another")
    comparisons.kept_division_report(config, tmp_path)
    assert made == [0, 1, 0]
