"""The browser checks find each kind of problem, and nothing in a clean book. One run sees all made-up pages."""

import asyncio
import sys
from pathlib import Path

import pytest

from tools import check_browser
from tools.check_browser import check, find_browser

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium")

DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
PAGE = """<!DOCTYPE html><html lang="en"><head><title>A page</title></head>
<body><article>{}</article></body></html>"""
SOLUTION = """<div class="solution"><button id="b" aria-expanded="false" onclick="{}">Solution</button>
<p id="answer" hidden>Always.</p></div>"""
TOGGLE = "answer.hidden = !answer.hidden; b.ariaExpanded = String(!answer.hidden)"
WORDS = f"The meta-classifier and all the others: {', '.join(check_browser.SEARCHES)}."
SEARCH = """<form><input name="q" aria-label="words"></form><div id="search-results"></div><script>
if (location.search) document.getElementById("search-results").innerHTML =
  "<p class='search-summary'>Found one page.</p><ul><li><a href='{}'>A page</a></li></ul>"</script>"""
QUIZ = """<div class="quiz"><p><input type="radio" name="q" aria-label="four"><span class="why" style="display: none"
>yes</span></p></div>"""
DRAWN = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='770' height='9'%3E%3C/svg%3E"
FIGURE = f"""<div class="cell_output"><figure><img src="{DRAWN}" alt="Bars" style="width: {{}}px">{{}}</figure></div>"""
CLEAN = f"""<h1 id="top">A page</h1><p>{WORDS}</p><a href="#top">up</a>
<a href="clean.html">other</a> <a href="data.csv">data</a>
<a href="https://example.org/">for reading</a> <img src="{DOT}" alt="A dot"> <img src="{DOT}" alt="" aria-hidden="true">
<details><summary>More</summary><p>More words</p></details>
{FIGURE.format(520, "<figcaption>Bars of two colours</figcaption>")}
<div class="cell_input"><pre style="overflow: auto">short</pre></div>
<div style="overflow-x: auto; width: 100%" tabindex="0"><p style="width: 2000px">Wide</p></div>"""

BOOK = {
    "book/index.html": '<a href="../notebooks/04_benchmark.html">Benchmark</a>',
    "notebooks/04_benchmark.html": f"""<a href="#table">Table</a><p style="height: 2000px">words</p>
        <section id="table"><span id="benchmark-table"></span><h2>Table</h2></section>{SOLUTION.format(TOGGLE)}""",
}

# Name of a page: its body, and what is said of it.
FAULTY = {
    "link": ('<a href="gone.html">x</a>', "broken link: gone.html"),
    "anchor": ('<a href="clean.html#gone">x</a>', "broken anchor: clean.html#gone"),
    "made_link": ("<script>document.write('<a href=gone.html>x</a>')</script>", "broken link: gone.html"),
    "lost_image": ("<img src='data:image/png;base64,AAAA' alt='A dot'>", "image does not show: data:image/png"),
    "silent_image": (f"<img src='{DOT}' alt=''>", "picture without words: data:image/gif"),
    "silent_drawing": ("<svg width='9' height='9'></svg>", "picture without words: svg"),
    "wide": ("<p id='long' style='width: 1300px'>words</p>", "the page scrolls sideways, 1308 px wide: p#long"),
    "opened": (
        "<details><summary>More</summary><p style='width: 1300px'>words</p></details>",
        "the page scrolls sideways once everything is open, 1308 px wide: p",
    ),
    "formula": (
        "<span class='math' style='display: block; overflow: hidden; width: 90px'><mjx-container>"
        "<mjx-math style='display: block; width: 100px'>e = mc</mjx-math></mjx-container></span>",
        "formula is cut off: e = mc",
    ),
    "cut_code": (
        "<div class='cell_input'><pre tabindex='0' style='overflow: auto; width: 90px'>a long line of code</pre></div>",
        "code is cut off",
    ),
    "much_code": (
        "<p style='height: 90px'>words</p>"
        "<div class='cell'><div class='cell_input' style='height: 30px'>code</div></div>",
        "open code takes 22 % of the page",
    ),
    "cut_table": (
        "<div class='output' tabindex='0' style='overflow: auto; width: 90px'><table style='width: 200px'><tr><td>words"
        "</td></tr></table></div>",
        "a table is cut off, 20",
    ),
    "no_caption": (FIGURE.format(520, ""), "figure without a caption: Bars"),
    "small_letters": (FIGURE.format(300, "<figcaption>Bars</figcaption>"), "letters below 9 px, 300 px for 770: Bars"),
    "outside": (
        "<script>fetch('https://example.org/a').catch(() => 0)</script>",
        "another host: https://example.org/a",
    ),
    "socket": ("<script>new WebSocket('wss://example.org/a')</script>", "another host: wss://example.org/a"),
    "missing": ("<script src='gone.js'></script>", "console error: Failed to load resource"),
    "reported": ("<script>console.error('it broke')</script>", "console error: it broke"),
    "thrown": ("<script>throw Error('it broke')</script>", "script error: it broke"),
    "rejected": ("<script>Promise.reject(Error('it broke'))</script>", "script error: it broke"),
    "pale": ("<p style='color: #999'>words</p>", "axe color-contrast, 1 elements"),
    "pale_when_opened": (
        "<details><summary>More</summary><p style='color: #999'>words</p></details>",
        "axe color-contrast, 1 elements",
    ),
    # Of elements that look the same one is measured: it must be one that can be seen.
    "pale_behind_hidden": (
        "<p style='color: #999' hidden>words</p><p style='color: #999'>words</p>",
        "axe color-contrast, 1 elements",
    ),
    "dark_ground": ("<p>words</p><div style='background: #444'><p>words</p></div>", "axe color-contrast, 1 elements"),
    "nameless": ("<input>", "axe label, 1 elements"),
    "no_stop_for_tab": (
        "<div style='overflow: auto; width: 50px'><p style='width: 500px'>many words here</p></div>",
        "axe scrollable-region-focusable, 1 elements",
    ),
}
# Faults that show in some modes, and one that will be allowed.
BY_MODE = {
    "phone": "<p style='width: 500px'>words</p>",
    "dark": "<style>@media (prefers-color-scheme: dark) { p { background: #444 } }</style><p>words</p>",
    "allowed": "<input>",
}
EXPECTED = """allowed: axe label, 3 elements: a test
dark.html (dark 1280): axe color-contrast, 1 elements, such as p: Element has insufficient
phone.html (light 390): the page scrolls sideways, 508 px wide: p
5 pages in 3 modes, 2 problems"""


def write(folder: Path, pages: dict[str, str]) -> Path:
    for name, body in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(PAGE.format(body))
    (folder / "data.csv").write_text("")
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What is said of a book in which every page but one has a fault, in one mode."""
    pages = {f"{name}.html": body for name, (body, _) in FAULTY.items()} | {
        "clean.html": CLEAN,
        "index.html": '<a href="notebooks/04_benchmark.html" style="outline: none">Benchmark</a>',
        "notebooks/04_benchmark.html": SOLUTION.format("answer.hidden = false"),
        "quiz.html": QUIZ,
        "search.html": SEARCH.format("pale.html"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check_browser, "MODES", [("light", 1280)])
        patch.setattr(check_browser, "MOST_KEYS", 9)
        return asyncio.run(check(write(tmp_path_factory.mktemp("faulty"), pages), find_browser()))[0]


@pytest.mark.parametrize("name", FAULTY)
def test_each_kind_of_problem_is_found_alone(found, name):
    (line,) = [line for line in found if line.startswith(f"{name}.html")]
    assert FAULTY[name][1] in line


def test_a_clean_page_among_faulty_ones_has_no_problem(found):
    assert [line for line in found if line.startswith("clean.html")] == []


def test_a_search_that_lists_other_pages_is_a_problem(found):
    lines = [line for line in found if line.startswith("search.html")]
    assert len(lines) == len(check_browser.SEARCHES)
    assert all("lists no page with these words" in line for line in lines)


def test_what_the_keyboard_cannot_do_is_a_problem(found):
    assert [line for line in found if "keyboard" in line] == [
        "index.html: keyboard: no link to benchmark-table within 9 keys",
        "index.html: keyboard: the focus does not show on a[href*='04_benchmark.html']",
        "notebooks/04_benchmark.html: keyboard: the solution does not open, or does not say so",
        "quiz.html: keyboard: an answer of a quiz does not give its reason",
    ]


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command line on a book of these pages, besides an index and a benchmark, in these modes."""

    def run(pages: dict[str, str], modes: list[tuple[str, int]]) -> int:
        monkeypatch.setattr(check_browser, "MODES", modes)
        monkeypatch.setattr(sys, "argv", ["check_browser", str(write(tmp_path, BOOK | pages))])
        (tmp_path / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=book/index.html">')
        return check_browser.main()

    return run


def test_a_clean_book_has_no_problem(command, capsys):
    pages = {"clean.html": CLEAN, "search.html": SEARCH.format("clean.html")}
    assert command(pages, [("light", 1280)]) == 0
    assert capsys.readouterr().out.startswith("4 pages in 1 modes, 0 problems")


def test_problems_name_their_modes_and_allowed_rules_are_none(command, capsys, monkeypatch):
    monkeypatch.setattr(check_browser, "ALLOWED", {"label": "a test"})
    monkeypatch.setattr(check_browser, "SEARCHES", ())
    pages = {f"{name}.html": body for name, body in BY_MODE.items()}
    assert command(pages, [("light", 1280), ("light", 390), ("dark", 1280)]) == 1
    lines, expected = capsys.readouterr().out.splitlines(), EXPECTED.splitlines()
    assert len(lines) == len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True))


def test_an_empty_folder_is_a_problem(tmp_path):
    assert len(asyncio.run(check(tmp_path, find_browser()))[0]) == 1


def test_without_a_browser_there_is_one_line_and_status_2(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(check_browser, "BROWSERS", ("no-such-browser",))
    monkeypatch.setattr(sys, "argv", ["check_browser", str(tmp_path)])
    assert check_browser.main() == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
