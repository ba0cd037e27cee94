"""benchmark/Snakefile and its Slurm profile; what needs Snakemake is skipped without it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nlcore.results.grids import read_grid

ROOT = Path(__file__).resolve().parents[2]
GRID = ROOT / "benchmark" / "digits.yml"
CELLS = [f"results/{name}.json" for name in read_grid(GRID)]


def snakemake(folder: Path, *arguments: str) -> str:
    """What Snakemake says when it runs in a folder, the log included."""
    if not shutil.which("snakemake"):
        pytest.skip("Snakemake is not installed")
    command = ["snakemake", "--snakefile", str(ROOT / "benchmark" / "Snakefile"), "--directory", str(folder)]
    config = ["--config", f"python={sys.executable}", f"grid={GRID}", "results=results"]
    run = subprocess.run([*command, *arguments, *config], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def planned(folder: Path, *arguments: str) -> list[str]:
    """The results that a dry run would make."""
    return re.findall(r"output: (\S+)", snakemake(folder, "--cores", "1", "--dry-run", *arguments))


def test_digits_are_forty_cells() -> None:
    assert len(CELLS) == 40


def test_what_has_a_result_does_not_run_again(tmp_path) -> None:
    (tmp_path / "results").mkdir()
    for path in CELLS[1:]:
        (tmp_path / path).touch()
    assert planned(tmp_path) == CELLS[:1]
    (tmp_path / CELLS[0]).touch()
    assert planned(tmp_path) == []


def test_an_empty_folder_gets_every_cell(tmp_path) -> None:
    assert sorted(planned(tmp_path)) == sorted(CELLS)


def test_a_job_makes_its_result_and_leaves_it_alone_when_forced(tmp_path) -> None:
    assert "1 of 1 steps (100%) done" in snakemake(tmp_path, "--cores", "1", CELLS[0])
    made = (tmp_path / CELLS[0]).read_text()
    assert [path.name for path in (tmp_path / "results").glob("*.json")] == [Path(CELLS[0]).name]
    assert "kept" in snakemake(tmp_path, "--cores", "1", "--force", CELLS[0])
    assert (tmp_path / CELLS[0]).read_text() == made


@pytest.mark.parametrize("limits, budget", [([], None), (["--default-resources", "runtime=240"], "12960")])
def test_a_job_stops_before_its_time_is_up(tmp_path, limits, budget) -> None:
    text = snakemake(tmp_path, "--cores", "1", "--dry-run", "--printshellcmds", CELLS[0], *limits)
    found = re.search(r"--time-budget (\d+)", text)
    assert (found and found[1]) == budget


def test_slurm_jobs_have_limits_and_only_the_profile_tries_again() -> None:
    profile = yaml.safe_load((ROOT / "benchmark" / "slurm" / "config.yaml").read_text())
    assert {"runtime", "mem_mb"} <= {resource.partition("=")[0] for resource in profile["default-resources"]}
    assert profile["retries"] > 0
    assert "retries" not in (ROOT / "benchmark" / "Snakefile").read_text()
