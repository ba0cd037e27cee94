"""A page shows the outputs of its notebook's executed copy; a copy of another notebook breaks the build."""

import io
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}


class Book:
    """A book of one notebook, `notebooks/one.ipynb`, whose executed copies live outside its source folder."""

    def __init__(self, folder: Path) -> None:
        self.source, self.executed, self.built = folder / "source", folder / "executed", folder / "built"
        self.document = self.source / "notebooks" / "one.ipynb"
        self.copy = self.executed / "notebooks" / "one.ipynb"
        for path in (self.document, self.copy):
            path.parent.mkdir(parents=True)
        nbformat.write(self.notebook("print(6 * 7)"), self.document)

    @staticmethod
    def notebook(code: str, printed: str | None = None, **metadata) -> nbformat.NotebookNode:
        """A notebook of two cells, `rate = 0.2` and `code`; executed with another rate if something was printed."""
        cells = [new_code_cell("rate = 0.2", metadata={"tags": ["parameters"]}), new_code_cell(code)]
        if printed is not None:
            cells[1].outputs = [new_output("stream", name="stdout", text=printed)]
            cells.insert(1, new_code_cell("rate = 0.4", metadata={"tags": ["injected-parameters"]}))
        return new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC} | metadata)

    def execute(self, code: str = "print(6 * 7)", printed: str = "forty-two", **metadata) -> None:
        """Write an executed copy, as papermill would."""
        nbformat.write(self.notebook(code, printed, **metadata), self.copy)

    def build(self) -> str:
        """Build what is out of date; return the warnings."""
        warnings = io.StringIO()
        overrides = {
            "extensions": ["myst_nb", "tools.executed_notebooks"],
            "executed_notebooks": str(self.executed),
            "nb_execution_mode": "off",
            "root_doc": "notebooks/one",
            "suppress_warnings": ["toc", "myst.header", "config.cache"],
        }
        doctrees = self.built / ".doctrees"
        with patch_docutils(), docutils_namespace():
            app = Sphinx(
                self.source, None, self.built, doctrees, "html", confoverrides=overrides, status=None, warning=warnings
            )
            app.build()
        return re.sub(r"\x1b\[[0-9;]*m", "", warnings.getvalue())

    @property
    def page(self) -> str:
        return re.sub(r"<[^>]+>", "", (self.built / "notebooks" / "one.html").read_text(encoding="utf-8"))


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def test_page_shows_the_outputs_and_the_parameters_used(book: Book) -> None:
    book.execute()
    assert book.build() == ""
    assert "forty-two" in book.page
    assert "rate = 0.2" in book.page
    assert "rate = 0.4" in book.page


def test_missing_copy_is_a_warning(book: Book) -> None:
    assert "notebooks/one" in book.build()


@pytest.mark.parametrize(
    "copy",
    [
        {"code": "print(42)"},
        {"nlcore": {"status": "failed"}},
        {"papermill": {"exception": True}},
    ],
    ids=["stale", "failed", "papermill failed"],
)
def test_copy_that_cannot_stand_for_the_notebook_is_a_warning(book: Book, copy: dict) -> None:
    book.execute(**copy)
    assert "notebooks/one" in book.build()


def test_warning_is_repeated_by_an_incremental_build(book: Book) -> None:
    book.execute(code="print(42)")
    assert book.build() == book.build() != ""


def test_page_follows_a_new_copy_of_an_unchanged_notebook(book: Book) -> None:
    book.execute(printed="first")
    book.build()
    book.execute(printed="second")
    assert book.build() == ""
    assert "second" in book.page
    assert "first" not in book.page


def test_page_recovers_when_the_copy_appears(book: Book) -> None:
    book.build()
    book.execute()
    assert book.build() == ""
    assert "forty-two" in book.page
