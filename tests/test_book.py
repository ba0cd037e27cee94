"""The whole book as a reader gets it: notebooks executed at the smoke profile, built without a warning, checked."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools.check_html import check
from tools.repository import address

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
PAGES = [f"book/{path.stem}" for path in sorted((ROOT / "book").glob("*.md"))]


JUPYTER_BOOK = Path(sys.executable).with_name("jupyter-book")


def run(*command: str | Path) -> None:
    """Run a command from the root; a failure shows what it printed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def execute(folder: Path, *names: str) -> None:
    """Bring the executed copies in `folder` up to date."""
    run(sys.executable, "-m", "tools.execute", "--profile", "smoke", "--output-dir", folder / "notebooks", *names)


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for executed copies, away from the checkout's own."""
    return tmp_path_factory.mktemp("executed")


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory, executed: Path) -> Path:
    """The folder of the built book. Notebooks that the tests above have executed are not executed again."""
    execute(executed)
    folder = tmp_path_factory.mktemp("book")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"]["executed_notebooks"] = str(executed)
    extensions = config["sphinx"]["local_extensions"]
    config["sphinx"]["local_extensions"] = {name: str(ROOT / path) for name, path in extensions.items()}
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    options = ["--config", folder / "_config.yml", "--path-output", folder, "-n", "-W", "--keep-going"]
    run(JUPYTER_BOOK, "build", ".", *options)
    return folder / "_build" / "html"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_at_the_smoke_profile(executed: Path, name: str) -> None:
    execute(executed, name)
    notebook = json.loads((executed / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert notebook["metadata"]["nlcore"]["status"] == "complete"


def test_links_images_and_loads_are_in_order(book: Path) -> None:
    assert check(book) == []


@pytest.mark.parametrize("page", [*PAGES, *(f"notebooks/{name}" for name in NOTEBOOKS)])
def test_page_is_in_the_book(book: Path, page: str) -> None:
    assert (book / f"{page}.html").is_file()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_page_shows_outputs(book: Path, name: str) -> None:
    assert 'class="cell_output' in (book / "notebooks" / f"{name}.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_page_says_what_it_takes(book: Path, name: str) -> None:
    page = (book / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    assert re.search(r'<p class="run-time">Runs in [\w ]+ s at the smoke profile', page)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_launch_buttons_open_the_pages_own_notebook_once_there_is_an_address(book: Path, name: str) -> None:
    page = (book / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    repository = address(ROOT).removeprefix("https://github.com/")
    buttons = {
        f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{name}.ipynb",
        f"https://mybinder.org/v2/gh/{repository}/main?urlpath=lab/tree/notebooks/{name}.ipynb",
    }
    found = set(re.findall(r'href="(https://(?:colab\.|mybinder\.)[^"]+)"', page))
    assert found == (set() if repository.startswith("nlcore_owner/") else buttons)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_checks_refuse_the_stubs_and_accept_the_solutions(executed: Path, name: str) -> None:
    execute(executed, name)
    cells = json.loads((executed / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    for tag, verdict in (("stub", "✗"), ("solution", "✓")):
        judged = [
            cell for cell in cells if tag in cell["metadata"].get("tags", []) and "judge(" in "".join(cell["source"])
        ]
        assert judged
        for cell in judged:
            printed = "".join(text for output in cell["outputs"] for text in output.get("text", []))
            assert [mark for mark in printed if mark in "✗✓"] == [verdict], printed


def test_search_finds_the_subject(book: Path) -> None:
    """The index lists words by their stem, and headings in full."""
    index = (book / "searchindex.js").read_text(encoding="utf-8")
    terms = json.loads(index[index.index("{") : index.rindex("}") + 1])["terms"]
    assert {"hallucin", "meta", "classifi", "transit", "matrix"} <= terms.keys()
