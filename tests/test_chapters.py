"""Every chapter keeps the form that readers, teachers and the tools rely on (see CONTRIBUTING.md)."""

import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest

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
