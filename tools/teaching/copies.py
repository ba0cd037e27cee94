"""Copies of the chapters for teaching: for students without solutions and outputs, for teachers with all of it."""

import nbformat
from nbformat import NotebookNode

from tools.stamp import author_cells
from tools.teaching.myst import Context, cited_keys, readable

GLUED = "application/papermill.record/"  # outputs that only carry a value for the text
NOTES = {
    "student": "*Student copy: without solutions and outputs. Numbers in the text are those of the book's own run; "
    "yours may differ a little, and will with other parameters.*",
    "teacher": "*Teacher's copy: with solutions, and with the outputs of the book's own run.*",
}


def tags(cell: NotebookNode) -> set[str]:
    """The tags of a cell."""
    return set(cell.metadata.get("tags", []))


def figure_words(cell: NotebookNode) -> str:
    """What the author wrote for those who cannot see a cell's figure."""
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")


def caption(cell: NotebookNode) -> str:
    """What stands below a cell's figure in the book."""
    return cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")


def student_copy(executed: NotebookNode, context: Context) -> NotebookNode:
    """The chapter to work in: no solutions, no outputs; stubs and checks stay."""
    cells = [cell for cell in author_cells(executed) if "solution" not in tags(cell)]
    return copy_of(cells, context, "student")


def teacher_copy(executed: NotebookNode, context: Context) -> NotebookNode:
    """The chapter with its solutions, and the outputs as the book shows them."""
    return copy_of(executed.cells, context, "teacher")


def copy_of(cells: list[NotebookNode], context: Context, reader: str) -> NotebookNode:
    """A notebook of these cells for a reader, with a note on what it is and a list of the works that it cites."""
    copied = [copied_cell(cell, context, reader) for cell in cells]
    copied.insert(1, nbformat.v4.new_markdown_cell(NOTES[reader]))
    keys = cited_keys("\n".join(cell.source for cell in cells if cell.cell_type == "markdown"))
    if keys:
        works = "\n".join(f"- {context.references[key].listing}" for key in keys)
        copied.append(nbformat.v4.new_markdown_cell(f"## References\n\n{works}"))
    copied = [cell for cell in copied if cell.source]
    for number, cell in enumerate(copied):  # as nbstripout numbers them: the same text gives the same bytes
        cell["id"] = str(number)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=copied, metadata={"kernelspec": kernel})


def copied_cell(cell: NotebookNode, context: Context, reader: str) -> NotebookNode:
    """One cell, in plain Markdown or as it was; of the metadata only the tags are kept."""
    metadata = {"tags": sorted(tags(cell))} if tags(cell) else {}
    if cell.cell_type == "markdown":
        text = readable(cell.source, context, solutions=reader == "teacher")
        return nbformat.v4.new_markdown_cell(text, metadata=metadata)
    if "hide-input" in tags(cell):
        metadata["jupyter"] = {"source_hidden": True}
    new = nbformat.v4.new_code_cell(cell.source, metadata=metadata)
    if reader == "teacher":
        new["execution_count"] = cell.execution_count
        new["outputs"] = [described(output, figure_words(cell)) for output in shown_outputs(cell)]
    return new


def shown_outputs(cell: NotebookNode) -> list[NotebookNode]:
    """Outputs that a reader sees: no values for the text, no warnings and progress bars."""
    return [
        output
        for output in cell.get("outputs", [])
        if not any(kind.startswith(GLUED) for kind in output.get("data", {})) and output.get("name") != "stderr"
    ]


def described(output: NotebookNode, words: str) -> NotebookNode:
    """An output whose image carries its words where Jupyter and nbconvert look for them."""
    new = NotebookNode(output)
    if "image/png" in output.get("data", {}) and words:
        new["metadata"] = NotebookNode({"image/png": {"alt": words}})
    return new
