"""tools/teaching/copies.py: what students see, what only teachers see, and that a student's copy runs."""

from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.teaching.copies import student_copy, teacher_copy
from tools.teaching.myst import Context, Reference

CONTEXT = Context(
    chapter="one",
    glued={"one": {"count": "7"}},
    references={"li2020": Reference("Li et al.", "2020", "Li et al. (2020). A title.")},
    titles={"notebooks/one": "One"},
)
GLUED = new_output("display_data", data={"application/papermill.record/text/plain": "7"})
FIGURE = new_output("display_data", data={"image/png": "iVBORw0KGgo="})


def code(source: str, *tags: str, **others: object) -> NotebookNode:
    return new_code_cell(source, metadata={"tags": list(tags), "execution": {"start": "10:00"}}, **others)


def text(source: str, *tags: str) -> NotebookNode:
    return new_markdown_cell(source, metadata={"tags": list(tags)} if tags else {})


@pytest.fixture
def executed() -> NotebookNode:
    alt = {"mystnb": {"image": {"alt": "Seven dots."}}}
    warning = new_output("stream", name="stderr", text="a warning")
    return new_notebook(
        cells=[
            text("# One\n\nThere are {glue:text}`count` {cite:p}`li2020`."),
            code("number: int = 1  # of what", "parameters"),
            code("number = 2", "injected-parameters"),
            new_code_cell("plot()", metadata=alt, execution_count=3, outputs=[GLUED, warning, FIGURE]),
            text("```{exercise} Double\n:label: one-double\nDouble it.\n```"),
            code(
                "from nlcore.study.notebook import judge\n\n\ndef check_double(f): assert f(2) == 4",
                "check",
                "hide-input",
            ),
            code("def double(x):\n    raise NotImplementedError('double it')\n\n\njudge(check_double, double)", "stub"),
            text("````{solution-start} one-double\n````", "solution"),
            code("def double(x):\n    return 2 * x", "solution", outputs=[new_output("stream", text="secret")]),
            text("Twice.\n\n````{solution-end}\n````", "solution"),
            text("```{exercise} Why?\n:label: one-why\nWhy?\n```"),
            text("```{solution} one-why\nBecause.\n```", "solution"),
        ],
        metadata={"papermill": {"input_path": "/a/path"}},
    )


def sources(notebook: NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


def test_student_has_no_solution_and_no_output(executed: NotebookNode) -> None:
    copy = student_copy(executed, CONTEXT)
    text = nbformat.writes(copy)
    assert [word for word in ("return 2 * x", "Twice", "Because", "Solution", "secret") if word in text] == []
    assert [cell.outputs for cell in copy.cells if cell.cell_type == "code" and cell.outputs] == []


def test_solution_inside_a_text_is_left_out_too(executed: NotebookNode) -> None:
    executed.cells[10].source += "\n\n```{solution} one-why\nOtherwise.\n```"
    assert "Otherwise" not in sources(student_copy(executed, CONTEXT))
    assert "Otherwise" in sources(teacher_copy(executed, CONTEXT))


def test_student_keeps_questions_checks_and_stubs(executed: NotebookNode) -> None:
    found = sources(student_copy(executed, CONTEXT))
    for words in ("**Exercise: Double**", "def check_double", "raise NotImplementedError", "**Exercise: Why?**"):
        assert words in found


def test_student_has_the_authors_parameters_only(executed: NotebookNode) -> None:
    assert "number = 2" not in sources(student_copy(executed, CONTEXT))
    assert "number = 2" in sources(teacher_copy(executed, CONTEXT))


def test_teacher_has_everything(executed: NotebookNode) -> None:
    found = sources(teacher_copy(executed, CONTEXT))
    for words in ("**Solution**", "return 2 * x", "Twice.", "Because.", "**Exercise: Why?**"):
        assert words in found
    assert "{solution" not in found


def test_teacher_sees_outputs_but_no_values_and_warnings(executed: NotebookNode) -> None:
    (plot,) = [cell for cell in teacher_copy(executed, CONTEXT).cells if cell.source == "plot()"]
    (output,) = plot.outputs
    assert output.data == FIGURE.data
    assert output.metadata == {"image/png": {"alt": "Seven dots."}}


@pytest.mark.parametrize("copied", [student_copy, teacher_copy])
def test_copy_reads_well_and_says_nothing_of_the_run(executed: NotebookNode, copied) -> None:
    copy = copied(executed, CONTEXT)
    nbformat.validate(copy)
    assert "There are 7 (Li et al. 2020)." in copy.cells[0].source
    assert copy.cells[-1].source == "## References\n\n- Li et al. (2020). A title."
    assert not [word for word in ("/a/path", "10:00") if word in nbformat.writes(copy)]
    assert nbformat.writes(copied(executed, CONTEXT)) == nbformat.writes(copy)


def test_student_copy_runs_and_its_stub_fails_the_check(executed: NotebookNode, tmp_path: Path) -> None:
    executed.cells[3].source = "pass"
    nbformat.write(student_copy(executed, CONTEXT), tmp_path / "one.ipynb")
    papermill.execute_notebook(tmp_path / "one.ipynb", tmp_path / "out.ipynb", {"number": 3}, progress_bar=False)
    (stub,) = [c for c in nbformat.read(tmp_path / "out.ipynb", 4).cells if "stub" in c.metadata.tags]
    assert stub.outputs[0].text == "✗ double does not pass yet: double it\n"
