"""tools/alone.py: a notebook has to fetch the repository by itself, and gets the checkout's last commit."""

import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml
from click.testing import CliRunner, Result
from nbformat.v4 import new_code_cell, new_notebook

from tools import alone

FETCH = "!git clone --quiet --depth 1 https://github.com/nlcore_owner/nlcore nlcore-book"
CHECK = "assert number == 2\nassert open('nlcore-book/greeting').read() == 'hello'"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit; nothing is uninstalled from this environment."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_config.yml").write_text("repository: {url: https://github.com/nlcore_owner/nlcore}\n")
    profiles = {"smoke": {"one": {"timeout": 60, "parameters": {"number": 2}}}}
    (tmp_path / "notebooks" / "profiles.yml").write_text(yaml.safe_dump(profiles))
    (tmp_path / "greeting").write_text("hello")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "one"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    run = subprocess.run
    monkeypatch.setattr(alone, "ROOT", tmp_path)
    monkeypatch.setattr(alone.subprocess, "run", lambda c, **o: None if "uninstall" in c else run(c, **o))
    for name in ("GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0"):
        monkeypatch.setenv(name, "")  # taken back after the test
    return tmp_path


def run(root: Path, *cells: str) -> Result:
    parameters = new_code_cell("number = 1", metadata={"tags": ["parameters"]})
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[parameters, *map(new_code_cell, cells)], metadata={"kernelspec": kernelspec})
    nbformat.write(notebook, root / "notebooks" / "one.ipynb")
    return CliRunner().invoke(alone.main)


def test_a_notebook_that_fetches_the_repository_runs(root: Path) -> None:
    result = run(root, FETCH, CHECK)
    assert (result.exit_code, result.output) == (0, "one\n"), result.exception


def test_a_notebook_that_fetches_nothing_fails(root: Path) -> None:
    assert "one fetched nothing" in run(root, "number").output


def test_a_cell_that_fails_is_a_failure(root: Path) -> None:
    assert run(root, FETCH, "1 / 0").exit_code == 1
