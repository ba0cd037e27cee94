"""The teacher's kit from a small executed book with the chapters of the real one: content, offline, deterministic."""

import io
import math
import re
import shutil
import zipfile
from pathlib import Path

import nbformat
import pytest
from click import ClickException
from click.testing import CliRunner
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.check_html import check
from tools.teaching import kit
from tools.teaching.kit import COURSES, NAME, executed_chapters, machine_paths, pages_of, zipped
from tools.teaching.minutes import exercise_minutes, reading_minutes

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = [Path(page).name for page in pages_of(ROOT) if page.startswith("notebooks/")]
SOURCES = ROOT / "book" / "_teaching"


PICTURE = "```{figure} ../book/_static/mislabelled.png\n:alt: Six cats.\n\nCats.\n```"


def chapter(name: str) -> NotebookNode:
    """A chapter as short as possible."""
    figure = new_output("display_data", data={"image/png": "iVBORw0KGgo="})
    return new_notebook(
        cells=[
            new_markdown_cell(
                f"# Chapter {name}\n\nAfter this chapter you can\n\n- read.\n\nSee {{doc}}`{CHAPTERS[0]}`."
            ),
            new_markdown_cell(PICTURE),
            new_code_cell("draw()", metadata={"mystnb": {"image": {"alt": "Dots."}}}, outputs=[figure]),
            new_markdown_cell(f"## Exercises\n\n```{{exercise}} Why?\n:label: {name}-why\nWhy?\n```"),
            new_markdown_cell(f"```{{solution}} {name}-why\nTherefore.\n```", metadata={"tags": ["solution"]}),
        ],
        metadata={"nlcore": {"status": "complete", "profile": "standard", "wall_seconds": 3.2}},
    )


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder with the real book around chapters that were "executed"."""
    root = tmp_path_factory.mktemp("book")
    (root / "notebooks").mkdir()
    executed = root / "_build" / "executed" / "notebooks"
    executed.mkdir(parents=True)
    for name in CHAPTERS:
        nbformat.write(chapter(name), root / "notebooks" / f"{name}.ipynb")
        nbformat.write(chapter(name), executed / f"{name}.ipynb")
    shutil.copytree(SOURCES, root / "book" / "_teaching")
    shutil.copytree(ROOT / "book" / "_static", root / "book" / "_static")
    shutil.copy(ROOT / "book" / "references.bib", root / "book")
    shutil.copy(ROOT / "_toc.yml", root)
    shutil.copy(ROOT / "LICENSE", root)
    (root / "results").mkdir()
    (root / "results" / "one.json").write_text("{}")
    return root


@pytest.fixture(scope="module")
def files(book: Path) -> dict[str, bytes]:
    return kit.kit(book, book / "_build" / "executed" / "notebooks")


def test_kit_holds_every_chapter_three_times(files: dict[str, bytes]) -> None:
    for folder, ending in (("student", "ipynb"), ("teacher", "ipynb"), ("slides", "html")):
        names = [name for name in files if re.fullmatch(rf"{folder}/[^/]+\.{ending}", name)]
        assert names == [f"{folder}/{name}.{ending}" for name in CHAPTERS]


def test_kit_holds_the_documents(files: dict[str, bytes]) -> None:
    documents = {"README", "exam/questions", "exam/answers", "syllabus/minutes", *(f"syllabus/{c}" for c in COURSES)}
    assert {name for name in files if name.endswith(".md")} == {f"{name}.md" for name in documents}
    assert documents <= {name.removesuffix(".html") for name in files if name.endswith(".html")}
    assert {"LICENSE", "exam/exam.yml", "results/one.json", "slides/assets/reveal/LICENSE"} <= files.keys()


def test_only_teachers_see_solutions(files: dict[str, bytes]) -> None:
    holders = {name.split("/")[0] for name, content in files.items() if b"Therefore." in content}
    assert holders == {"teacher"}


def test_kit_needs_no_network_and_links_lead_somewhere(files: dict[str, bytes], tmp_path: Path) -> None:
    zipfile.ZipFile(io.BytesIO(zipped(files))).extractall(tmp_path)
    assert check(tmp_path / NAME) == []


def test_zip_depends_on_nothing_but_its_files(book: Path, files: dict[str, bytes]) -> None:
    content = zipped(files)
    again = kit.kit(book, book / "_build" / "executed" / "notebooks")
    assert zipped(dict(reversed(again.items()))) == content
    entries = zipfile.ZipFile(io.BytesIO(content)).infolist()
    assert [entry.filename for entry in entries] == sorted(f"{NAME}/{name}" for name in files)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert len(content) < 25e6


def test_folder_of_this_machine_is_noticed(files: dict[str, bytes], book: Path) -> None:
    assert machine_paths(files, book) == []
    assert machine_paths({"a": b"x", "b": f"in {book}/notebooks".encode()}, book) == ["b"]


def test_command_writes_the_zip(book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "ROOT", book)
    output = tmp_path / "kit.zip"
    result = CliRunner().invoke(kit.main, ["--output", str(output)])
    assert result.exit_code == 0, result.output
    assert zipfile.ZipFile(output).testzip() is None


@pytest.mark.parametrize("damage", ["missing", "changed", "failed"])
def test_copy_that_is_not_the_chapter_is_refused(book: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(book / "_build" / "executed" / "notebooks", tmp_path, dirs_exist_ok=True)
    copy = tmp_path / f"{CHAPTERS[1]}.ipynb"
    notebook = nbformat.read(copy, as_version=4)
    if damage == "changed":
        notebook.cells[2].source = "other()"
    if damage == "failed":
        notebook.metadata["nlcore"]["status"] = "failed"
    nbformat.write(notebook, copy)
    if damage == "missing":
        copy.unlink()
    with pytest.raises(ClickException, match=f"{CHAPTERS[1]} (was not|changed|failed)"):
        executed_chapters(book, tmp_path)


def test_reading_takes_words_and_code_into_account() -> None:
    words, lines = new_markdown_cell("word " * 1300), new_code_cell("x\n" * 150)
    hidden = new_code_cell("x\n" * 150, metadata={"tags": ["check"]})
    exercise = new_markdown_cell("```{exercise} Why?\n" + "word " * 1300 + "\n```")
    assert reading_minutes(new_notebook(cells=[words, lines, hidden, exercise])) == 20


def test_minutes_of_an_exercise_follow_its_kind() -> None:
    titles = ("Why?", "Do", "A project: go")
    question, coding, project = (new_markdown_cell(f"```{{exercise}} {title}\n?\n```") for title in titles)
    first, second = (new_code_cell("...", metadata={"tags": ["stub"]}) for _ in range(2))
    assert exercise_minutes(new_notebook(cells=[question, coding, first, project, second])) == [5, 15, 45]


def syllabus(course: str) -> str:
    return (SOURCES / f"syllabus_{course}.md").read_text(encoding="utf-8")


def chapters_in(text: str) -> list[str]:
    return re.findall(r"\{doc\}`/notebooks/(\w+)`", "\n".join(re.findall(r"\*\*Chapters\*\*.*", text)))


@pytest.mark.parametrize(("course", "minutes"), [("2_hours", 120), ("3_lessons", 270), ("2_days", 720)])
def test_minutes_of_a_course_add_up(course: str, minutes: int) -> None:
    parts = re.findall(r"\*\*Minutes\*\*: lecture (\d+), reading (\d+), exercises (\d+)\n", syllabus(course))
    assert len(parts) == syllabus(course).count("\n### ") == syllabus(course).count("**Goals**")
    assert sum(int(part) for row in parts for part in row) == minutes
    assert re.search(rf"\b{minutes:,} minutes|\b{minutes:,} in all", syllabus(course))


def test_long_course_covers_the_book_in_order_with_minutes_by_the_rule() -> None:
    text = syllabus("10_weeks")
    assert chapters_in(text) == CHAPTERS
    total = 0
    for week in text.split("\n### ")[1:]:
        notebooks = [nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4) for name in chapters_in(week)]
        reading = 5 * math.ceil(sum(map(reading_minutes, notebooks)) / 5)
        exercises = sum(sum(exercise_minutes(notebook)) for notebook in notebooks)
        assert f"lecture 60, reading {reading}, exercises {exercises}\n" in week
        total += 60 + reading + exercises
    assert f"{total:,} in all" in text


def test_shorter_courses_name_chapters_of_the_book_in_order() -> None:
    for course in ("2_hours", "3_lessons", "2_days"):
        named = chapters_in(syllabus(course))
        assert named == [name for name in CHAPTERS if name in named]
    assert set(re.findall(r"/notebooks/(\w+)", syllabus("2_days"))) == set(CHAPTERS)


def test_page_shows_all_courses() -> None:
    page = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    assert re.findall(r"\{include\} _teaching/syllabus_(\w+)\.md", page) == list(COURSES)
