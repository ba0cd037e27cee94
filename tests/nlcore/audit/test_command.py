"""`nlcore audit` from the command line: what it prints, and what it refuses in one line."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from nlcore.audit.command import told


def nlcore(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "nlcore", "audit", *map(str, arguments)], capture_output=True, text=True, **options
    )


@pytest.fixture
def table(make_blobs, tmp_path):
    data = make_blobs(n=120)
    frame = pd.DataFrame(data.vectors.numpy(), columns=list("abcdef"))
    frame.assign(kind=np.array(["ant", "bee", "cat", "dog"])[data.given]).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_one_command_prints_the_most_suspicious_twenty_and_writes_four_files(table, tmp_path) -> None:
    done = nlcore(table, "--labels", "kind", "--method", "ce", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["quality", "given", "predicted", "sample"] and lines[20].split()[3] == "row"
    assert "of 120 labels are wrong (between" in done.stdout
    files = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert files == {"issues.csv", "clean.csv", "summary.json", "report.html"}
    assert lines[-1].startswith("wrote issues.csv")
    again = nlcore(table, "--label-column", "kind", "--method", "ce", "--out", tmp_path / "out").stdout.splitlines()
    assert again[:-1] == lines[:-1] and again[-1].startswith("this audit was finished before")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.csv"], "there is no folder or file nowhere.csv"),
        (["{table}", "--method", "cleanlab"], "unknown method 'cleanlab'"),
        (["{table}", "--labels", "colour"], "colour"),
        (["{table}"], "which column holds the labels"),
        (["{table}", "--labels", "kind", "--seed", "-1"], "seed"),
        (["{table}", "--labels", "kind", "--apply", "nothing.csv"], "nothing.csv"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(table, tmp_path, arguments: list, says: str) -> None:
    done = nlcore(*(a.format(table=table) for a in arguments), "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and says in done.stderr
    assert not (tmp_path / "out").exists()


def test_columns_stand_under_each_other_and_concerns_follow() -> None:
    summary = {
        "most_suspicious": [
            {"row": 3, "name": "row 3", "given_label": "a", "predicted_label": "elephant", "label_quality": 0.0312},
            {"row": 1, "name": "row 1", "given_label": "zebra", "predicted_label": "a", "label_quality": 0.25},
        ],
        "wrong": {"estimate": 2.4, "low": 0.6, "high": 5.0},
        "rows": 10,
        "issues": 2,
        "corrected": 1,
        "concerns": ["Class a is 12 times as large as b."],
    }
    assert told(summary) == [
        "quality  given  predicted  sample",
        "0.031    a      elephant   row 3",
        "0.250    zebra  a          row 1",
        "about 2 of 10 labels are wrong (between 1 and 5); 2 are issues, 1 are corrected in clean.csv",
        "note: Class a is 12 times as large as b.",
    ]
