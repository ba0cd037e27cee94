"""The repository's address stands in one place and everything follows it."""

from pathlib import Path

import nbformat
import pytest
import yaml
from click.testing import CliRunner, Result
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import repository

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """\
title: A book
# The address.
repository:
  branch: main  # of the repository
  url: https://github.com/first/name  # changed by a command
other:
  url: https://example.org
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "notebooks").mkdir()
    cells = [new_markdown_cell("# Title"), new_code_cell("x: int = 1", metadata={"tags": ["parameters"]})]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "one.ipynb")
    monkeypatch.setattr(repository, "ROOT", tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(repository.main, arguments)


def cells(root: Path) -> list[nbformat.NotebookNode]:
    return nbformat.read(root / "notebooks" / "one.ipynb", as_version=4).cells


def test_notebooks_follow_the_configuration(root: Path) -> None:
    assert run().exit_code == 0
    _, setup, parameters = cells(root)
    assert "git clone --quiet --depth 1 https://github.com/first/name nlcore-book" in setup.source
    assert setup.metadata.tags == repository.TAGS
    assert parameters.source == "x: int = 1"
    assert (root / "_config.yml").read_text() == CONFIG


@pytest.mark.parametrize("address", ["https://github.com/second/name", "https://github.com/second/name.git"])
def test_a_new_address_changes_one_line_and_the_setup_cell(root: Path, address: str) -> None:
    run()
    assert run(address).exit_code == 0
    assert (root / "_config.yml").read_text() == CONFIG.replace("first/name", "second/name")
    assert "1 https://github.com/second/name nlcore-book" in cells(root)[1].source
    assert len(cells(root)) == 3


def test_a_notebook_that_is_right_is_not_touched(root: Path) -> None:
    run()
    before = (root / "notebooks" / "one.ipynb").stat().st_mtime_ns
    run()
    assert (root / "notebooks" / "one.ipynb").stat().st_mtime_ns == before


@pytest.mark.parametrize("address", ["github.com/a/b", "https://github.com/a", "https://example.org/a/b", "x; rm y"])
def test_what_is_no_repository_is_refused(root: Path, address: str) -> None:
    assert run(address).exit_code != 0
    assert (root / "_config.yml").read_text() == CONFIG


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_first_code_cell_of_every_notebook_fetches_this_repository(path: Path) -> None:
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    address = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    assert code[0].source == repository.SETUP.format(address=address), "python -m tools.repository puts it there"
    assert code[0].metadata.tags == repository.TAGS
