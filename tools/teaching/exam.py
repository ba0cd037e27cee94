"""The exam: questions from a plain file, as a paper for students and as one with answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tools.teaching.figures import png

DIFFICULTY = {1: "said in the chapter", 2: "to be worked out", 3: "to be thought out"}
INTRODUCTION = """\
# Learning with noisy labels: questions

{questions} questions, {points} points. All of them together are several exams: about a point a minute makes a paper.
Figures show invented data.
"""


@dataclass(frozen=True)
class Question:
    """A question, as the file describes it."""

    id: str
    chapter: str
    title: str
    kind: str
    difficulty: int
    points: float
    question: str
    answer: str
    marking: str
    results: tuple[str, ...] = ()
    figure: str = ""
    alt: str = ""


def read_questions(path: Path) -> list[Question]:
    """All questions, in the order of the file."""
    return [Question(**entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))]


def paper(questions: list[Question], titles: Mapping[str, str], answers: bool) -> str:
    """Markdown of all questions under their chapters' titles (by notebook), with or without answers."""
    parts = [INTRODUCTION.format(questions=len(questions), points=f"{sum(q.points for q in questions):g}")]
    chapter = None
    for number, question in enumerate(questions, 1):
        if question.chapter != chapter:
            chapter = question.chapter
            parts.append(f"## {titles[chapter]}\n")
        parts.append(as_text(number, question, answers))
    return "\n".join(parts)


def as_text(number: int, question: Question, answers: bool) -> str:
    """Markdown of one question."""
    points = f"{question.points:g} point" + ("s" if question.points != 1 else "")
    text = f"### {number}. {question.title} ({points})\n\n{question.question}"
    if question.figure:
        text += f"\n![{question.alt}](figures/{question.figure}.png)\n"
    if answers:
        text += f"\n> **Answer.** {quoted(question.answer)}\n>\n> **Marking.** {quoted(question.marking)}\n>\n"
        text += f"> *{question.kind.capitalize()}, {DIFFICULTY[question.difficulty]}; `{question.id}`*\n"
    return text


def quoted(text: str) -> str:
    """The lines of a quotation, but for the mark of the first one."""
    return text.strip().replace("\n", "\n> ")


def figures(questions: list[Question]) -> dict[str, bytes]:
    """The figures that the questions show, by their file names."""
    return {f"figures/{name}.png": png(name) for name in sorted({q.figure for q in questions if q.figure})}
