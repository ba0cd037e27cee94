"""Stored runs are those of today's grids: a preset that changes takes its old results along."""

from pathlib import Path

import pytest

from nlcore.results.grids import read_grid

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("grid", "folder"), [("arena", "arena"), ("cpu50k", "cpu50k"), ("ablations", "ablations/glyphs")]
)
def test_no_stored_run_is_of_earlier_presets(grid, folder):
    stored = {path.stem for path in (ROOT / "results" / folder).glob("*.json")}
    assert stored, folder
    assert stored <= set(read_grid(ROOT / "benchmark" / f"{grid}.yml"))
