"""Every chapter keeps the form that readers, teachers and the tools rely on (see CONTRIBUTING.md)."""

import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from tools.teaching.minutes import reading_minutes

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXERCISE = re.compile(r"^`{3,}\{exercise\}[^\n]*\n:label: (\S+)", re.MULTILINE)
SOLUTION = re.compile(r"^`{3,}\{solution(?:-start)?\} (\S+)", re.MULTILINE)
OPENED = re.compile(r"^`{3,}\{solution-start\}", re.MULTILINE)
CLOSED = re.compile(r"^`{3,}\{solution-end\}", re.MULTILINE)

each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(notebook: Path) -> list[nbformat.NotebookNode]:
    return nbformat.read(notebook, as_version=4).cells


def tagged(notebook: Path, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in cells_of(notebook) if tag in cell.metadata.get("tags", [])]


def prose(cells: list[nbformat.NotebookNode]) -> str:
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def exercises(notebook: Path) -> list[str]:
    return EXERCISE.findall(prose(cells_of(notebook)))


@each_notebook
def test_chapter_begins_with_what_it_is_for(notebook: Path) -> None:
    first = cells_of(notebook)[0].source
    assert first.startswith("# ")
    for words in ("After this chapter you can", "**To read**", "**You need**"):
        assert words in first, words


@each_notebook
def test_time_to_read_is_that_of_the_teaching_kits_rule(notebook: Path) -> None:
    (stated,) = re.findall(r"\*\*To read\*\*: (\d+) minutes", cells_of(notebook)[0].source)
    assert abs(int(stated) - reading_minutes(nbformat.read(notebook, as_version=4))) <= 3


@each_notebook
def test_chapter_ends_with_exercises_and_further_reading(notebook: Path) -> None:
    headings = re.findall(r"^## (.+)$", prose(cells_of(notebook)), re.MULTILINE)
    assert headings[-2:] == ["Exercises", "Further reading"]


@each_notebook
def test_chapter_has_three_exercises_each_with_its_solution(notebook: Path) -> None:
    labels = exercises(notebook)
    assert len(labels) >= 3
    assert sorted(SOLUTION.findall(prose(cells_of(notebook)))) == sorted(labels)


def test_exercises_have_labels_of_their_own() -> None:
    counts = Counter(label for notebook in NOTEBOOKS for label in exercises(notebook))
    assert [label for label, count in counts.items() if count > 1] == []


@each_notebook
def test_solutions_stand_in_cells_that_can_be_left_out(notebook: Path) -> None:
    """A copy for students is the notebook without the cells tagged `solution`."""
    kept = [cell for cell in cells_of(notebook) if "solution" not in cell.metadata.get("tags", [])]
    for pattern in (SOLUTION, CLOSED):
        assert pattern.findall(prose(kept)) == []
    solutions = prose(tagged(notebook, "solution"))
    assert len(OPENED.findall(solutions)) == len(CLOSED.findall(solutions))
    assert EXERCISE.findall(solutions) == []


@each_notebook
def test_every_stub_has_a_check_and_a_solution(notebook: Path) -> None:
    """All three name the same check and the same answer."""
    judged = {
        tag: sorted(
            re.findall(r"^judge\((\w+), (\w+)\)", "\n".join(cell.source for cell in tagged(notebook, tag)), re.M)
        )
        for tag in ("stub", "solution")
    }
    assert judged["stub"] == judged["solution"] != []
    defined = re.findall(r"^def (\w+)", "\n".join(cell.source for cell in tagged(notebook, "check")), re.MULTILINE)
    assert {check for check, _ in judged["stub"]} <= set(defined)


@each_notebook
def test_numbers_of_a_run_are_glued_under_names_of_the_notebook_that_quotes_them(notebook: Path) -> None:
    """A key that is quoted without a page must be glued on the page itself."""
    cells = cells_of(notebook)
    quoted = set(re.findall(r"\{glue:text\}`([^`:]+)[`:]", prose(cells)))
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    glued = set(re.findall(r"glue\(\s*\"([^\"{]+)\"", code))
    patterns = [re.escape(key).replace(r"\{", "{") for key in re.findall(r"glue\(\s*f\"([^\"]+)\"", code)]
    patterns = [re.sub(r"\{.*?\}", ".+", pattern) for pattern in patterns]
    unknown = [key for key in quoted - glued if not any(re.fullmatch(pattern, key) for pattern in patterns)]
    assert unknown == []


COMPARATIVE = re.compile(
    r"\b(more|less|fewer|higher|lower|better|worse|larger|smaller|longer|shorter|nearer|farther|faster|slower|above|below"
    r"|ahead|behind|beats?|gains?|rises?|falls?|drops?|improves?|than)\b",
    re.IGNORECASE,
)


def sentences(text: str) -> list[str]:
    """Sentences of prose; headings, rows of tables and items of lists stand alone."""
    blocks = re.split(r"\n\s*\n|\n(?=[ ]*(?:[-*|#]|\d+\.) ?)", text)
    return [sentence for block in blocks for sentence in re.split(r"(?<=[.!?:])(?:\*\*)?\s+", block)]


@each_notebook
def test_a_sentence_that_compares_two_numbers_of_a_run_is_built_by_code(notebook: Path) -> None:
    """Numbers that are glued change with the parameters; a word such as "more", once typed, does not."""
    typed = [
        sentence
        for sentence in sentences(prose(cells_of(notebook)))
        if sentence.count("{glue:") >= 2 and COMPARATIVE.search(re.sub(r"\{glue:\w+\}`[^`]*`", "", sentence))
    ]
    assert typed == []


def test_sentences_that_compare_are_seen() -> None:
    wrong = (
        "One has {glue:text}`a`.\n\n- It gains {glue:text}`a` points and ends\n  at {glue:text}`b`. Others **do** too."
    )
    found = [sentence for sentence in sentences(wrong) if sentence.count("{glue:") >= 2]
    assert len(found) == 1 and COMPARATIVE.search(found[0])


# -- what is seen of a chapter

FOLDED = {"hide-input", "remove-input", "remove-cell", "hide-cell"}
SHORT, NARROW = 12, 76  # lines of a cell that is open, and columns of any that a reader may see
SMALLEST, WIDEST = 9, 7.5  # points of a letter, inches of a figure


def code_cells(notebook: Path, without: set[str]) -> list[nbformat.NotebookNode]:
    cells = [cell for cell in cells_of(notebook) if cell.cell_type == "code"]
    return [cell for cell in cells if not without & set(cell.metadata.get("tags", []))]


@each_notebook
def test_code_that_is_open_is_the_lesson(notebook: Path) -> None:
    """Drawing, imports and bookkeeping are folded: what is open is short enough to be read."""
    for cell in code_cells(notebook, FOLDED | {"parameters", "solution"}):
        assert len(cell.source.splitlines()) <= SHORT, cell.source
        assert "glue(" not in cell.source and not re.match(r"(import|from) \w+", cell.source), cell.source
    for cell in code_cells(notebook, {"remove-input", "remove-cell"} | FOLDED):
        assert [line for line in cell.source.splitlines() if len(line) > NARROW] == []


@each_notebook
def test_figures_have_a_caption_a_name_of_their_own_and_letters_that_can_be_read(notebook: Path) -> None:
    shown = [cell.metadata["mystnb"] for cell in code_cells(notebook, {"solution"}) if "mystnb" in cell.metadata]
    figures = [settings for settings in shown if "image" in settings]
    assert all(settings.get("figure", {}).get("caption") and settings["image"].get("alt") for settings in figures)
    names = [settings["figure"]["name"] for settings in figures]
    assert len(set(names)) == len(names) and all(name.startswith("fig-") for name in names)
    code = "\n".join(cell.source for cell in code_cells(notebook, set()))
    sizes = re.findall(r"""(?:fontsize=|labelsize=|"size": )(\d+(?:\.\d+)?)""", code)
    assert [size for size in sizes if float(size) < SMALLEST] == []
    assert [width for width in re.findall(r"figsize=\((\d+(?:\.\d+)?),", code) if float(width) > WIDEST] == []


def test_figures_have_names_that_no_other_chapter_uses() -> None:
    cells = [cell for notebook in NOTEBOOKS for cell in code_cells(notebook, set())]
    names = Counter(cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in cells)
    assert [name for name, count in names.items() if name and count > 1] == []


@each_notebook
def test_chapter_ends_with_three_lines_and_three_questions(notebook: Path) -> None:
    text = prose(cells_of(notebook))
    (lines,) = re.findall(
        r"\{admonition\} Three lines to remember\n(?::class:[^\n]*\n)*\n?(.*?)\n[`:]{3}", text, re.DOTALL
    )
    assert len(re.findall(r"^(?:-|\d\.) ", lines, re.MULTILINE)) == 3
    quizzes = re.findall(r"\{admonition\} [^\n`]+\n:class: quiz\n\n?(.*?)\n[`:]{3}", text, re.DOTALL)
    assert len(quizzes) == 3 and text.count(":class: quiz") == 3
    for answers in quizzes:
        assert answers.count("- [x] ") == 1 and answers.count("- [ ] ") in (2, 3)
        assert answers.count(" :: ") == answers.count("- [")
    assert text.index("Three lines to remember") < text.index("## Check yourself") < text.index("## Exercises")
