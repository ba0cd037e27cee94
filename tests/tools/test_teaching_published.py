"""The kit on the book's page: made with the book, linked, shown, and never of other notebooks than the pages show."""

import io
import zipfile
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from click import ClickException
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from tools.check_html import broken, check
from tools.teaching.kit import NAME, SOURCE_TEXTS
from tools.teaching.published import FOLDER, publish

ROOT = Path(__file__).resolve().parents[2]
TOC = "root: book/teaching\nparts:\n  - chapters:\n      - file: notebooks/one\n      - file: notebooks/two\n"
PAGE = "# Teaching\n\n```{teaching-kit}\n```\n"


def chapter(name: str, other: str) -> nbformat.NotebookNode:
    cells = [new_markdown_cell(f"# {name}\n\n## Why\n\n- See {{doc}}`{other}`."), new_code_cell("1 + 1")]
    return new_notebook(cells=cells, metadata={"nlcore": {"status": "complete", "profile": "p", "wall_seconds": 1}})


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A book of two chapters, executed."""
    root = tmp_path / "root"
    texts = {f"book/_teaching/{name}.md": f"## {name}\n" for name in SOURCE_TEXTS}
    texts["book/_teaching/README.md"] = "# Teaching\n"
    texts |= {"_toc.yml": TOC, "book/teaching.md": PAGE, "book/references.bib": "", "LICENSE": "free"}
    texts["book/_teaching/exam.yml"] = "[]"
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    for folder in (root / "notebooks", executed(root)):
        folder.mkdir(parents=True)
        nbformat.write(chapter("one", "two"), folder / "one.ipynb")
        nbformat.write(chapter("two", "one"), folder / "two.ipynb")
    return root


def executed(root: Path) -> Path:
    return root / "_build" / "executed" / "notebooks"


def build(root: Path, builder: str = "html") -> tuple[BeautifulSoup, str, str]:
    """The page, what the build said, and its warnings."""
    extensions = ["myst_nb", "tools.executed_notebooks", "teaching_kit"]
    settings = {"extensions": extensions, "nb_execution_mode": "off", "root_doc": "book/teaching"}
    settings["include_patterns"] = ["book/teaching.md"]
    said, warnings = io.StringIO(), io.StringIO()
    with patch_docutils(), docutils_namespace():
        app = Sphinx(root, None, root / "html", root / "doctrees", builder, settings, status=said, warning=warnings)
        app.build()
    page = (root / "html" / "book" / "teaching.html").read_bytes()
    return BeautifulSoup(page, "lxml"), said.getvalue(), warnings.getvalue()


@pytest.fixture(autouse=True)
def extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))


def test_page_offers_the_kit_with_its_size_and_shows_slides(book: Path) -> None:
    page, _, warnings = build(book)
    assert not warnings
    zipped = book / "html" / FOLDER / f"{NAME}.zip"
    download = page.select_one(f"a[href='../{FOLDER}/{NAME}.zip']")
    assert f"({zipped.stat().st_size / 1e6:.1f} MB, 2 chapters)" in download.find_parent("p").get_text()
    assert page.iframe["src"] == page.select_one("a[href$='one.html']")["href"] == f"../{FOLDER}/slides/one.html"
    top = book / "html"
    for tag in page.select("[src*=teaching], a[href*=zip]"):
        assert not list(broken(top, top / "book" / "teaching.html", tag.get("src") or tag["href"], {}))
    assert f"{NAME}/slides/two.html" in zipfile.ZipFile(zipped).namelist()


def test_slides_beside_the_book_need_nothing_else_and_lead_to_its_pages(book: Path, tmp_path: Path) -> None:
    kit = publish(book, executed(book), tmp_path)
    (tmp_path / "notebooks").mkdir()
    for name in ("one", "two"):  # the pages that the book has
        (tmp_path / "notebooks" / f"{name}.html").write_text("<p>A chapter.</p>")
    assert check(tmp_path) == []
    assert '<a href="../../notebooks/two.html">' in (tmp_path / kit.slides).read_text(encoding="utf-8")
    assert not (tmp_path / FOLDER / "slides" / "two.html").exists()


def test_next_build_shows_the_slides_of_what_was_executed_since(book: Path) -> None:
    build(book)
    for folder in (book / "notebooks", executed(book)):
        changed = nbformat.read(folder / "one.ipynb", 4)
        changed.cells[0].source += "\n- Changed."
        nbformat.write(changed, folder / "one.ipynb")
    build(book)
    assert "Changed." in (book / "html" / FOLDER / "slides" / "one.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["was not executed", "changed after it was executed"])
def test_without_a_kit_the_build_goes_on_and_the_page_says_how_to_make_one(book: Path, damage: str) -> None:
    build(book)
    copy = executed(book) / "two.ipynb"
    copy.unlink() if "not" in damage else nbformat.write(chapter("other", "one"), copy)
    page, said, warnings = build(book)
    assert not warnings
    (line,) = [line for line in said.splitlines() if "no teacher's kit" in line]
    assert f"two {damage}" in line
    assert page.iframe is None and "make teaching" in page.get_text()
    assert not (book / "html" / FOLDER).exists()  # the old one showed other numbers


def test_kit_that_names_a_folder_of_this_machine_is_not_published(book: Path, tmp_path: Path) -> None:
    (book / "LICENSE").write_text(f"see {book}/LICENSE", encoding="utf-8")
    with pytest.raises(ClickException, match="a folder of this machine is named in LICENSE"):
        publish(book, executed(book), tmp_path)


def test_other_builders_have_pages_beside_which_no_file_can_lie(book: Path) -> None:
    page, _, warnings = build(book, "singlehtml")
    assert not warnings and page.iframe is None and "make teaching" in page.get_text()


def test_the_book_offers_the_kit() -> None:
    assert "```{teaching-kit}" in (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    assert "    teaching_kit: book/_ext\n" in (ROOT / "_config.yml").read_text(encoding="utf-8")
