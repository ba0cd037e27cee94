"""A whole audit: four files, and a command that goes on where it was stopped."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from nlcore import InputError
from nlcore.audit import run
from nlcore.audit.command import told
from nlcore.audit.run import CORRECTED, DOUBTFUL, KEPT, apply, audit, most_suspicious_first, what_to_do


@pytest.fixture
def table(make_blobs, tmp_path):
    """A table on disk, and its blobs."""
    data = make_blobs(n=240)
    frame = pd.DataFrame(data.vectors.numpy(), columns=list("abcdef"))
    frame.assign(label=np.array(["ant", "bee", "cat", "dog"])[data.given]).to_csv(tmp_path / "table.csv", index=False)
    return str(tmp_path / "table.csv"), data


def rows(path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_writes_four_files_that_agree(table, tmp_path) -> None:
    path, data = table
    heard = []
    summary = audit(path, tmp_path / "out", method="ce", on_epoch=heard.append)
    assert heard[-1] == 1.0 and heard == sorted(heard)
    issues, clean = rows(tmp_path / "out" / "issues.csv"), rows(tmp_path / "out" / "clean.csv")
    assert len(issues) == len(clean) == summary["rows"] == 240
    qualities = [float(row["label_quality"]) for row in issues]
    assert qualities == sorted(qualities) and sorted(int(row["row"]) for row in issues) == list(range(240))
    by_row = np.array(sorted((int(row["row"]), float(row["label_quality"])) for row in issues))[:, 1]
    assert roc_auc_score(data.wrong, -by_row) > 0.95
    assert sum(row["is_label_issue"] == "True" for row in issues) == summary["issues"]
    assert [int(row["row"]) for row in clean] == list(range(240))
    names = np.array(["ant", "bee", "cat", "dog"])
    assert [row["given_label"] for row in clean] == names[data.given].tolist()
    for row in clean:
        assert (row["label"] != row["given_label"]) == (row["done"] == CORRECTED)
    better = sum(row["label"] == names[k] for row, k in zip(clean, data.true, strict=True))
    assert better >= int((~data.wrong).sum()) and summary["corrected"] > 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text("utf-8")) == summary
    assert summary["wrong"]["low"] <= int(data.wrong.sum()) <= summary["wrong"]["high"]
    assert (tmp_path / "out" / "report.html").stat().st_size < 10_000_000


def test_a_column_that_was_left_out_is_said_in_the_summary_and_in_the_report(table, tmp_path) -> None:
    path, _ = table
    pd.read_csv(path).assign(remark="fine").to_csv(path, index=False)
    summary = audit(path, tmp_path / "out", method="ce")
    assert any("remark" in line for line in told(summary))
    assert "numbers: remark" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_a_finished_audit_is_not_done_again_and_one_of_other_data_is_refused(table, tmp_path, monkeypatch) -> None:
    path, _ = table
    first = audit(path, tmp_path / "out", method="ce")
    monkeypatch.setattr(run.NoisyLabelClassifier, "judge", lambda *a, **k: pytest.fail("it was done again"))
    assert audit(path, tmp_path / "out", method="ce") == first
    with pytest.raises(InputError, match="holds an audit of"):
        audit(path, tmp_path / "out", method="tssd")
    frame = pd.read_csv(path)
    frame.loc[0, "label"] = "dog" if frame.loc[0, "label"] != "dog" else "cat"
    frame.to_csv(path, index=False)
    with pytest.raises(InputError, match="other data, labels or settings"):
        audit(path, tmp_path / "out", method="ce")


def test_an_audit_that_was_stopped_goes_on_and_ends_the_same(table, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("nlcore.audit.judge.KEEP_EVERY", -1.0)
    path, _ = table
    whole = audit(path, tmp_path / "whole", method="ce")

    def stop(share: float) -> None:
        if share > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(path, tmp_path / "out", method="ce", on_epoch=stop)
    assert not list((tmp_path / "out").glob("*.csv")) and not (tmp_path / "out" / "summary.json").exists()
    heard = []
    assert audit(path, tmp_path / "out", method="ce", on_epoch=heard.append) == whole
    assert (tmp_path / "out" / "issues.csv").read_bytes() == (tmp_path / "whole" / "issues.csv").read_bytes()


def test_a_damaged_summary_is_named(table, tmp_path) -> None:
    path, _ = table
    audit(path, tmp_path / "out", method="ce")
    (tmp_path / "out" / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"summary\.json is damaged"):
        audit(path, tmp_path / "out", method="ce")


def test_a_summary_of_something_else_is_left_alone(table, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text('{"my": 1}', encoding="utf-8")
    with pytest.raises(InputError, match=r"summary\.json is not of an audit; choose another folder"):
        audit(table[0], tmp_path / "out", method="ce")


@pytest.mark.parametrize("name", ["issues.csv", "clean.csv"])
def test_neither_the_data_nor_a_file_of_somebody_is_written_over(table, tmp_path, name: str) -> None:
    inside, other = tmp_path / "inside", tmp_path / "other"
    for folder in (inside, other):
        folder.mkdir()
    data = inside / name
    data.write_bytes((tmp_path / "table.csv").read_bytes())
    with pytest.raises(InputError, match="is what is read"):
        audit(str(data), inside, method="ce")
    (other / name).write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is not of an audit"):
        audit(table[0], other, method="ce")
    assert (other / name).read_text(encoding="utf-8") == "mine" and {p.name for p in other.iterdir()} <= {name, ".lock"}


def test_decided_labels_go_over_decided_labels_alone(table, tmp_path) -> None:
    """Neither over the table that was audited nor over a file that happens to have their name."""
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("row,name,given_label,decision,label\n", encoding="utf-8")
    data = tmp_path / "labels.csv"
    data.write_bytes((tmp_path / "table.csv").read_bytes())
    before = data.read_bytes()
    with pytest.raises(InputError, match="is what is read"):
        apply(str(data), tmp_path, decisions)
    with pytest.raises(InputError, match="was not written by --apply"):
        apply(table[0], tmp_path, decisions)
    assert data.read_bytes() == before
    for _ in range(2):
        apply(table[0], tmp_path / "out", decisions)


def test_samples_that_are_all_the_same_are_refused_before_anything_is_written(tmp_path) -> None:
    (tmp_path / "same.csv").write_text("a,label\n" + "1,x\n1,y\n" * 20, encoding="utf-8")
    with pytest.raises(InputError, match="same in every row"):
        audit(str(tmp_path / "same.csv"), tmp_path / "out", method="ce")
    assert not (tmp_path / "out").exists()


def test_decisions_become_labels(table, tmp_path) -> None:
    path, data = table
    names = np.array(["ant", "bee", "cat", "dog"])
    wrong = data.wrong.nonzero().flatten()[:2].tolist()
    given, true = names[data.given], names[data.true]
    lines = ["row,name,given_label,decision,label"]
    lines += [f"{wrong[0]},row {wrong[0]},{given[wrong[0]]},accept,{true[wrong[0]]}"]
    lines += [f"{wrong[1]},row {wrong[1]},{given[wrong[1]]},keep,{given[wrong[1]]}"]
    (tmp_path / "decisions.csv").write_text("\n".join(lines), encoding="utf-8")
    assert apply(path, tmp_path / "out", tmp_path / "decisions.csv") == {"rows": 240, "decisions": 2, "changed": 1}
    written = rows(tmp_path / "out" / "labels.csv")
    assert written[wrong[0]]["label"] == true[wrong[0]] and written[wrong[0]]["decision"] == "accept"
    assert [row["label"] for k, row in enumerate(written) if k != wrong[0]] == np.delete(given, wrong[0]).tolist()


def test_only_a_sure_suggestion_replaces_a_label() -> None:
    opinion = torch.tensor([[0.02, 0.96, 0.02], [0.1, 0.5, 0.4], [0.9, 0.05, 0.05]], dtype=torch.float64)
    labels, quality, predicted = torch.zeros(3, dtype=torch.int64), np.array([0.01, 0.01, 0.9]), np.array([1, 1, 0])
    done, final = what_to_do(opinion, labels, quality, predicted)
    assert done.tolist() == [CORRECTED, DOUBTFUL, KEPT] and final.tolist() == [1, 0, 0]
    done, final = what_to_do(opinion, labels, np.array([0.3, 0.3, 0.9]), predicted)
    assert done.tolist() == [DOUBTFUL, DOUBTFUL, KEPT] and final.tolist() == [0, 0, 0]


def test_rows_of_one_quality_come_by_the_probability_of_their_label() -> None:
    opinion = torch.tensor([[0.3, 0.7], [0.1, 0.9], [0.2, 0.8]], dtype=torch.float64)
    order = most_suspicious_first(opinion, torch.zeros(3, dtype=torch.int64), np.array([0.4, 0.4, 0.1]))
    assert order.tolist() == [2, 1, 0]
