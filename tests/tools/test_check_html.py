"""The checker of the built book finds each kind of problem, and nothing in a clean page."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.check_html import check

CLEAN = """
<link rel="stylesheet" href="_static/style.css"><link rel="canonical" href="https://example.org/book/">
<script src="_static/code.js"></script>
<h1 id="top">A page</h1>
<a href="#top">up</a> <a href="sub/other.html#there">other</a> <a href="sub/">folder</a> <a href="data.csv">data</a>
<a href="https://example.org/paper">for reading</a> <a href="mailto:a@example.org">mail</a>
<img src="_images/plot.png" alt="Accuracy against noise rate"> <img src="_images/plot.png" alt="" aria-hidden="true">
<img src="data:image/png;base64,AAAA" alt="A dot"> <p style="background: url(data:image/png;base64,AAAA)"></p>
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A small clean book of three pages."""
    for name, text in {
        "index.html": CLEAN,
        "sub/other.html": '<h2 id="there">There</h2><a href="../index.html#top">back</a>',
        "sub/index.html": "<h1>Folder</h1>",
        "_static/style.css": "/* url(https://example.org/old.css) */ body { background: url('../_images/plot.png') }",
        "_static/code.js": "",
        "_images/plot.png": "",
        "data.csv": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_clean_book_has_no_problem(book):
    assert check(book) == []


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="gone.html">x</a>', "broken link: gone.html"),
        ('<a href="#gone">x</a>', "broken anchor: #gone"),
        ('<a href="sub/other.html#gone">x</a>', "broken anchor: sub/other.html#gone"),
        ('<img src="_images/gone.png" alt="A plot">', "broken link: _images/gone.png"),
        ('<img src="_images/plot.png">', "image without alt text: _images/plot.png"),
        ('<img src="_images/plot.png" alt=" ">', "image without alt text: _images/plot.png"),
        ('<img src="_images/plot.png" alt="_images/plot.png">', "alt text is a file name: _images/plot.png"),
        (f'<img src="_images/plot.png" alt="{"0a1b" * 16}">', f"alt text is a file name: {'0a1b' * 16}"),
        ('<script src="https://example.org/a.js"></script>', "loads from another host: https://example.org/a.js"),
        ('<script src="//example.org/a.js"></script>', "loads from another host: //example.org/a.js"),
        ('<link rel="stylesheet" href="https://example.org/a.css">', "loads from another host: https://example.org/a.css"),
        ('<img src="https://example.org/a.png" alt="A plot">', "loads from another host: https://example.org/a.png"),
        ('<iframe src="https://example.org/"></iframe>', "loads from another host: https://example.org/"),
        ("<style>p { color: url(//example.org/a.png) }</style>", "style loads from another host: //example.org/a.png"),
        ('<style>@import "https://example.org/a.css";</style>', "style loads from another host: https://example.org/a.css"),
        ("<p style=\"color: url('//example.org/a.png')\"></p>", "style loads from another host: //example.org/a.png"),
    ],
)  # fmt: skip
def test_each_kind_of_problem_is_found_alone(book, html, problem):
    (book / "index.html").write_text(CLEAN + html)
    assert check(book) == [f"index.html: {problem}"]


def test_style_sheets_are_read_too(book):
    (book / "_static/style.css").write_text("@import url(https://example.org/font.css);")
    assert check(book) == ["_static/style.css: style loads from another host: https://example.org/font.css"]


def test_an_empty_folder_is_a_problem(tmp_path):
    assert len(check(tmp_path)) == 1


@pytest.mark.parametrize(
    ("html", "status", "last_line"), [("", 0, "3 pages, 0 problems"), ("<img>", 1, "3 pages, 1 problems")]
)
def test_command_line_counts_and_fails(book, html, status, last_line):
    (book / "index.html").write_text(CLEAN + html)
    run = subprocess.run([sys.executable, "-m", "tools.check_html", book], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.splitlines()[-1]) == (status, last_line)
