"""tools/plain_sphinx.py on a book of two pages: it builds, a warning fails it, and nothing else is left behind."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from click.testing import CliRunner, Result

from tools import plain_sphinx
from tools.check_html import check

CONFIG = """
title: A book
html:
  favicon: book/_static/icon.svg
execute:
  execute_notebooks: "off"
bibtex_bibfiles:
  - book/references.bib
sphinx:
  extra_extensions: [sphinx-mathjax-offline, sphinx_exercise]
  config:
    html_static_path: [book/_static]
    html_css_files: [own.css]
    bibtex_reference_style: author_year
"""
FIRST = "# First\n\nSee [](second), after {cite:p}`someone`.\n\n```{bibliography}\n```\n"
SECOND = "# Second\n\n```{exercise} Sum\n:label: sum\nWhat is $1 + 1$?\n```\n\n:::{dropdown} Hint\nCount.\n:::\n"
FILES = {
    "_config.yml": CONFIG,
    "_toc.yml": "format: jb-book\nroot: book/first\nchapters:\n  - file: book/second\n",
    "book/first.md": FIRST,
    "book/second.md": SECOND,
    "book/references.bib": "@article{someone, author = {A. Someone}, title = {T}, journal = {J}, year = 2026}\n",
    "book/_static/own.css": "p { color: black }\n",
    "book/_static/icon.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>\n",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(plain_sphinx, "ROOT", tmp_path)
    monkeypatch.setattr(plain_sphinx, "find_browser", lambda: None)
    return tmp_path


def build(*arguments: str) -> Result:
    return CliRunner().invoke(plain_sphinx.main, arguments)


def test_book_is_built_and_nothing_else_is_left(root: Path) -> None:
    result = build()
    assert result.exit_code == 0, result.output
    assert check(root / "_build" / "plain") == []
    page = BeautifulSoup((root / "_build" / "plain" / "book" / "first.html").read_bytes(), "lxml")
    assert page.select_one("article a[href='second.html']")
    assert page.select_one("link[href^='../_static/own.css']")
    assert page.select_one("link[rel~=icon][href='../_static/icon.svg']")
    assert "Someone" in page.select_one("[role=doc-biblioentry]").get_text()
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("_build/plain/")} == FILES.keys()


def test_the_extensions_of_jupyter_book_are_left_out(root: Path) -> None:
    extensions = set(plain_sphinx.configuration(root)["extensions"])
    assert "myst_nb" in extensions
    assert not plain_sphinx.JUPYTER_BOOK & extensions


def test_a_warning_fails_the_build(root: Path) -> None:
    (root / "book" / "second.md").write_text(SECOND + "\n{ref}`nowhere`\n")
    assert build().exit_code != 0


def test_the_book_on_one_page_lies_at_the_top_and_is_whole(root: Path) -> None:
    result = build("singlehtml")
    assert result.exit_code == 0, result.output
    assert "no Chromium" in result.output
    output = root / "_build" / "single"
    assert check(output) == []
    assert [path.name for path in output.rglob("*.html") if "_static" not in path.parts] == ["index.html"]
    page = BeautifulSoup((output / "index.html").read_bytes(), "lxml")
    assert page.select_one(".exercise")
    assert page.select_one("details")
    assert page.select_one("article a[href='#document-book-second']")
    assert page.select_one("script[src*=mathjax]")


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ("for word; do case $word in --print-to-pdf=*) echo pdf > ${word#*=};; esac; done", "book.pdf\n"),
        ("echo no display >&2; exit 1", "browser failed\nno display\n\n"),
    ],
    ids=["works", "fails"],
)
def test_a_browser_prints_the_page_and_its_failure_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, script: str, printed: str
) -> None:
    browser = root / "browser"
    browser.write_text(f"#!/bin/sh\n{script}\n")
    browser.chmod(0o755)
    monkeypatch.setattr(plain_sphinx, "find_browser", lambda: str(browser))
    plain_sphinx.print_to_pdf(root / "index.html")
    assert capsys.readouterr().out.endswith(printed)
