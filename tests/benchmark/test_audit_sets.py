"""The audit beside the simplest score on small data sets."""

import json

import numpy as np
import pytest

from benchmark import audit_sets


@pytest.mark.parametrize("name", audit_sets.SETS)
def test_each_set_has_numbers_and_classes_from_zero(name: str) -> None:
    inputs, labels = audit_sets.SETS[name]()
    assert len(inputs) == len(labels) and np.isfinite(inputs).all()
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))


@pytest.mark.parametrize("kind", audit_sets.NOISES)
def test_each_noise_makes_about_its_rate_of_labels_wrong(kind: str) -> None:
    noisy = audit_sets.noisy_labels(*audit_sets.SETS["classification"](), kind, 0.3, 0)
    wrong = float((noisy.given_labels != noisy.true_labels).double().mean())
    assert 0.2 < wrong < 0.36  # symmetric noise may draw the true label


def test_what_is_stored_is_not_run_again(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(audit_sets, "SETS", {"iris": audit_sets.SETS["iris"]})
    monkeypatch.setattr(audit_sets, "NOISES", ("symmetric",))
    monkeypatch.setattr(audit_sets, "RATES", (0.2,))
    out = tmp_path / "sets.json"
    audit_sets.main(out, seed=3)
    (row,) = json.loads(out.read_text())["rows"]
    assert row["rows"] == 150 and row["audit"] > 80 and row["seed"] == 3
    capsys.readouterr()
    audit_sets.main(out, seed=3)
    assert capsys.readouterr().out == "" and len(json.loads(out.read_text())["rows"]) == 1
