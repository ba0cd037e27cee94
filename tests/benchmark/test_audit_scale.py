"""How an audit scales is measured on rows whose wrong labels are known."""

import json

import numpy as np
import pytest

from benchmark import audit_scale


def test_a_fifth_of_the_labels_is_drawn_anew_and_the_clouds_can_be_told_apart() -> None:
    vectors, true, given = audit_scale.made_rows(4000)
    assert vectors.shape == (4000, audit_scale.DIM) and vectors.dtype == np.float32
    assert (true != given).mean() == pytest.approx(0.2 * 0.9, abs=0.02)  # a tenth of the redrawn stay right
    means = np.stack([vectors[true == number].mean(0) for number in range(audit_scale.CLASSES)])
    nearest = (vectors @ means.T - (means**2).sum(1) / 2).argmax(1)
    assert 0.9 < (nearest == true).mean() < 1


def test_a_size_is_measured_and_printed(monkeypatch, capsys) -> None:
    monkeypatch.setattr(audit_scale, "DIM", 8)
    monkeypatch.setattr(audit_scale, "SPREAD", 1.5)
    audit_scale.main(size=600)
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 600 and found["seconds"] > 0
    assert found["peak_memory_mb"] >= 0.99 * found["before_mb"]  # the system counts pages a little behind
    assert found["auroc"] > 90
