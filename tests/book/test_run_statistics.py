"""Every notebook's page says what it takes, and one page says it of all; both follow the executed copies."""

import io
import json
import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

ROOT = Path(__file__).resolve().parents[2]
RECORD = {
    "status": "complete",
    "profile": "standard",
    "parameters": {"epochs": 7},
    "wall_seconds": 12.3,
    "peak_memory_mb": 610.2,
    "device": "CPU (2 cores)",
    "versions": {"Python": "3.11.7", "torch": "2.15.0"},
    "code": "0a1b",
    "finished": "2026-11-21T10:00:00+00:00",
}
STORED = {"seconds": 5.2, "memory_mb": 600.0, "device": "CPU (2 cores)", "code": "9f8e"}
INDEX = "# Book\n\n```{toctree}\nnotebooks/two\nnotebooks/one\nbook/run_statistics\n```\n"
PAGE = "# Run times\n\n```{run-statistics}\n```\n\n## Stored\n\n```{run-times}\n```\n"


class Book:
    """A book of two notebooks, the second one first, and the page of their run times."""

    def __init__(self, folder: Path) -> None:
        self.source, self.built = folder / "source", folder / "built"
        for name in ("book", "notebooks", "_build/executed/notebooks"):
            (self.source / name).mkdir(parents=True)
        (self.source / "index.md").write_text(INDEX)
        (self.source / "book" / "run_statistics.md").write_text(PAGE)
        for name in ("one", "two"):
            nbformat.write(self.notebook(name), self.source / "notebooks" / f"{name}.ipynb")
            self.execute(name)

    @staticmethod
    def notebook(name: str, **metadata: object) -> nbformat.NotebookNode:
        kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        cells = [new_markdown_cell(f"# Chapter {name}\n\nText."), new_code_cell("1")]
        return new_notebook(cells=cells, metadata={"kernelspec": kernelspec, **metadata})

    def execute(self, name: str, **changes: object) -> None:
        copy = self.source / "_build" / "executed" / "notebooks" / f"{name}.ipynb"
        nbformat.write(self.notebook(name, nlcore=RECORD | changes), copy)

    def store(self, times: dict) -> None:
        (self.source / "book" / "run_times.json").write_text(json.dumps(times))

    def build(self, builder: str = "html") -> None:
        warnings = io.StringIO()
        overrides = {
            "extensions": ["myst_nb", "tools.executed_notebooks", "run_statistics"],
            "exclude_patterns": ["_build"],
            "nb_execution_mode": "off",
            "suppress_warnings": ["config.cache"],
        }
        doctrees = self.built / f".doctrees-{builder}"
        with patch_docutils(), docutils_namespace():
            Sphinx(
                self.source, None, self.built, doctrees, builder, confoverrides=overrides, status=None, warning=warnings
            ).build()
        assert warnings.getvalue() == ""

    def page(self, name: str) -> Tag:
        return BeautifulSoup((self.built / f"{name}.html").read_bytes(), "lxml")

    def line(self, name: str) -> str:
        return words(self.page(f"notebooks/{name}").select_one("h1 ~ p.run-time:last-child"))

    def tables(self) -> list[list[list[str]]]:
        tables = self.page("book/run_statistics").select("table")
        return [[[words(cell) for cell in row.select("th, td")] for row in table.select("tr")] for table in tables]


def words(tag: Tag) -> str:
    return re.sub(r"\s+", " ", tag.get_text()).strip()


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    return Book(tmp_path)


def test_line_at_the_foot_says_what_the_notebook_takes_at_every_profile(book: Book) -> None:
    book.store({"smoke": {"one": STORED}, "standard": {"one": STORED}, "full": {}})
    book.build()
    here = "Runs in 12 s at the standard profile, with 610 MB, on CPU (2 cores)."
    assert book.line("one") == f"{here} Smoke: 5 s. Full: not measured (meant for a GPU). All run times."
    assert book.line("two") == f"{here} Smoke: not measured. Full: not measured (meant for a GPU). All run times."
    link = book.page("notebooks/one").select_one(".run-time a")
    assert link["href"] == "../book/run_statistics.html"


def test_a_notebook_that_read_kept_runs_does_not_state_their_reading_as_its_time(book: Book) -> None:
    book.store({"standard": {"one": STORED | {"seconds": 300.0}}})
    book.execute("one", reused=True)
    book.execute("two", reused=True)
    book.build()
    assert book.line("one").startswith("Runs in 5 min 0 s at the standard profile")
    assert book.line("two").startswith("Its time was not measured at the standard profile")
    assert [row[1] for row in book.tables()[0]] == ["Time", "not measured", "5 min 0 s"]
    assert "Together 5 min 0 s for 1 of them," in words(book.page("book/run_statistics"))


def test_line_does_without_stored_times_and_without_the_page(book: Book) -> None:
    (book.source / "book" / "run_statistics.md").unlink()
    (book.source / "index.md").write_text(INDEX.replace("book/run_statistics\n", ""))
    book.build()
    assert book.line("one") == "Runs in 12 s at the standard profile, with 610 MB, on CPU (2 cores)."


def test_page_lists_the_notebooks_in_the_order_of_the_book(book: Book) -> None:
    book.store({"smoke": {"one": STORED}, "full": {}})
    book.build()
    row = ["12 s", "610 MB", "epochs = 7"]
    executed, stored = book.tables()
    assert executed == [
        ["Chapter", "Time", "Memory", "Parameters"],
        ["Chapter two", *row],
        ["Chapter one", *row],
    ]
    assert stored == [
        ["Chapter", "Smoke", "Full"],
        ["Chapter two", "not measured", "not measured"],
        ["Chapter one", "5 s", "not measured"],
    ]
    text = words(book.page("book/run_statistics"))
    assert "Profile standard, on CPU (2 cores), with Python 3.11.7, torch 2.15.0. Together 25 s," in text
    assert "Finished on 2026-11-21." in text
    assert "Smoke: on CPU (2 cores), code 9f8e; others not measured." in text
    assert "Full: not measured (meant for a GPU)." in text
    assert book.page("book/run_statistics").select_one("tbody th a")["href"] == "../notebooks/two.html"


def test_notebooks_that_ran_on_different_devices_are_listed_apart(book: Book) -> None:
    book.execute("two", device="A GPU", finished="2026-11-22T10:00:00+00:00")
    book.build()
    first, second, _ = book.tables()
    assert [rows[1][0] for rows in (first, second)] == ["Chapter two", "Chapter one"]
    assert "Profile standard, on A GPU," in words(book.page("book/run_statistics"))


def test_both_follow_a_new_execution_and_new_stored_times(book: Book) -> None:
    book.store({"smoke": {}})
    book.build()
    book.execute("one", wall_seconds=100.0)
    book.build()
    assert book.line("one").startswith("Runs in 1 min 40 s ")
    assert ["Chapter one", "1 min 40 s", "610 MB", "epochs = 7"] in book.tables()[0]
    book.store({"smoke": {"two": STORED}})
    book.build()
    assert " Smoke: 5 s." in book.line("two")
    assert ["Chapter two", "5 s"] in book.tables()[1]


def test_page_follows_a_notebook_that_is_new(book: Book) -> None:
    book.store({"smoke": {}})
    book.build()
    nbformat.write(book.notebook("three"), book.source / "notebooks" / "three.ipynb")
    book.execute("three")
    (book.source / "index.md").write_text(INDEX.replace("notebooks/one\n", "notebooks/one\nnotebooks/three\n"))
    book.build()
    assert [row[0] for row in book.tables()[0]] == ["Chapter", "Chapter two", "Chapter one", "Chapter three"]
    book.execute("three", wall_seconds=100.0)
    book.build()
    assert book.tables()[0][3][1] == "1 min 40 s"


def test_single_page_has_the_lines_and_the_tables(book: Book) -> None:
    book.build("singlehtml")
    page = book.page("index")
    assert len(page.select("p.run-time")) == 2
    assert len(page.select("table.run-statistics")) == 2
    assert {link["href"] for link in page.select(".run-time a")} == {"#document-book/run_statistics"}
