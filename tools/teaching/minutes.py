"""How long a chapter takes: to run as measured, to read and to practise by rules of thumb."""

import math
from collections.abc import Mapping

from nbformat import NotebookNode

from tools.stamp import author_cells
from tools.teaching.copies import tags
from tools.teaching.myst import blocks

WORDS_A_MINUTE, LINES_OF_CODE_A_MINUTE = 130, 15  # of a careful reader of technical text
QUESTION, CODING, PROJECT = 5, 15, 45  # minutes for an exercise
NOT_READ = {"setup", "check", "stub", "solution", "remove-cell", "remove-input", "hide-input"}
TABLE = """\
# Minutes for each notebook

Run time: measured when the book was made, on one CPU core, profile {profiles}. Reading: {words} words and {lines} lines
of code a minute. Exercises: {question} minutes for a question, {coding} for code with a check, {project} for a project.
These are rules of thumb; a class of yours is the better measure.

| chapter | run | reading (min) | exercises | exercises (min) |
|---|---|---|---|---|
{rows}
"""


def reading_minutes(notebook: NotebookNode) -> int:
    """Minutes to read a chapter's text and code, without its exercises."""
    words = lines = 0
    for cell in author_cells(notebook):
        if tags(cell) & NOT_READ:
            continue
        if cell.cell_type == "markdown":
            read = [block for block in blocks(cell.source) if not block.kind.startswith(("exercise", "solution"))]
            words += sum(len(block.body.split()) for block in read)
        else:
            lines += len(cell.source.splitlines())
    return math.ceil(words / WORDS_A_MINUTE + lines / LINES_OF_CODE_A_MINUTE)


def exercise_minutes(notebook: NotebookNode) -> list[int]:
    """Minutes for each exercise: a project by its title, code where a stub follows, else a question."""
    minutes = []
    for cell in author_cells(notebook):
        if cell.cell_type == "markdown":
            found = [block for block in blocks(cell.source) if block.kind in ("exercise", "exercise-start")]
            minutes += [PROJECT if "project" in block.title.lower() else QUESTION for block in found]
        elif "stub" in tags(cell) and minutes:
            minutes[-1] = max(CODING, minutes[-1])
    return minutes


def minutes_table(chapters: Mapping[str, NotebookNode], titles: Mapping[str, str]) -> str:
    """Markdown: run time, reading and exercises of each chapter; titles by chapter."""
    rows = []
    for name, notebook in chapters.items():
        exercises = exercise_minutes(notebook)
        record = notebook.metadata["nlcore"]
        seconds = "not measured" if record.get("reused") else f"{record['wall_seconds']:.0f} s"
        rows.append((titles[name], seconds, reading_minutes(notebook), len(exercises), sum(exercises)))
    rows.append(("all", "", *(sum(row[column] for row in rows) for column in (2, 3, 4))))
    return TABLE.format(
        profiles=", ".join(sorted({notebook.metadata["nlcore"]["profile"] for notebook in chapters.values()})),
        words=WORDS_A_MINUTE,
        lines=LINES_OF_CODE_A_MINUTE,
        question=QUESTION,
        coding=CODING,
        project=PROJECT,
        rows="\n".join(f"| {' | '.join(map(str, row))} |" for row in rows),
    )
