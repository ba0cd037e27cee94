"""The comparison of label audits: every score is judged alike."""

import json

import numpy as np
import pytest
import torch

from benchmark import audit
from nlcore import load_dataset
from nlcore.data.datasets import Dataset
from nlcore.noise.corrupt import corrupt


def test_scores_are_judged_by_order_and_by_the_first_hundredth() -> None:
    score = np.linspace(0, 1, 200)
    wrong = score < 0.1
    assert audit.judged(score, wrong) == {"auroc": 100, "average_precision": 100, "first_hundredth": 100}
    assert audit.judged(-score, wrong)["first_hundredth"] == 0


def test_every_score_of_a_cell_is_stored(monkeypatch) -> None:
    digits = load_dataset("digits").subset(300)
    vectors = [images.flatten(1).float() for images in (digits.train_images, digits.test_images)]
    data = Dataset("own", vectors[0], digits.train_labels, vectors[1], digits.test_labels, digits.class_names)
    noisy = corrupt(data, "symmetric", 0.3, 0)
    simple = torch.zeros(300)
    monkeypatch.setattr(audit, "cleanlab_scores", lambda given, probs: {"self_confidence": simple.numpy()})
    monkeypatch.setattr(audit, "accuracy_of_kept", lambda *parts: 90.0)  # cleanlab need not be installed
    monkeypatch.setattr(audit, "AUDITED", ("ce",))
    found = json.loads(json.dumps(audit.measured(data, noisy, 0)))
    assert list(found) == [
        "p, out-of-fold", "cleanlab, self_confidence", "neighbours", "dividemix", "audit, ce", "kept by cleanlab"
    ]  # fmt: skip
    assert found["cleanlab, self_confidence"]["auroc"] == 50
    assert found["audit, ce"]["auroc"] > 95 and found["audit, ce"]["really_wrong"] == round(noisy.rate * 300)
    assert 0 <= found["audit, ce"]["calibration_error"] < 0.3


def test_the_audits_own_scores_are_made_anew_and_the_others_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(audit, "measured", lambda *cell: {"neighbours": {"auroc": 1}, "audit, ce": {"auroc": 2}})
    monkeypatch.setattr(audit, "audits", lambda *cell: {"audit, ce": {"auroc": 3}})
    command = ["audit", "--out", str(tmp_path), "--seeds", "0", "--only", "table"]
    stored = []
    for more in (["--again"], [], [], ["--again"]):  # there is nothing to make anew at first
        monkeypatch.setattr("sys.argv", [*command, *more])
        audit.main()
        stored.append([json.loads(path.read_text()) for path in tmp_path.glob("*.json")])
    assert stored[0] == [] and stored[1] == stored[2]
    assert stored[3][0]["scores"] == {"neighbours": {"auroc": 1}, "audit, ce": {"auroc": 3}}
    assert stored[3][0]["environment"] == stored[1][0]["environment"]
    assert "environment_of_audits" in stored[3][0]


@pytest.mark.parametrize("name", audit.SMALL)
def test_small_sets_have_a_test_set_of_their_own(name) -> None:
    data, (inputs, labels) = audit.loaded(name), audit.SMALL[name]()
    assert len(data.test_labels) == len(labels) // 4
    again = torch.cat([data.train_images, data.test_images])
    torch.testing.assert_close(again.sum(1).sort().values, inputs.sum(1).sort().values)
    assert set(data.test_labels.tolist()) <= set(data.train_labels.tolist()) == set(range(data.num_classes))


def test_the_accuracy_of_what_cleanlab_keeps_is_that_of_a_classifier_on_it() -> None:
    pytest.importorskip("cleanlab")
    digits = load_dataset("digits")
    vectors = [images.flatten(1).float() for images in (digits.train_images, digits.test_images)]
    data = Dataset("own", vectors[0], digits.train_labels, vectors[1], digits.test_labels, digits.class_names)
    given = corrupt(data, "symmetric", 0.3, 0).given_labels
    standard = audit.standardised(vectors[0])
    probs = audit.out_of_fold(standard, given, 10, 0.1, 0)
    assert audit.accuracy_of_kept(data, standard, given, probs, 0.1) > 90
