"""The answers of a quiz, as `book/_ext/quiz.py` describes it: a task list, each answer with its reason."""

import re
from dataclasses import dataclass

# An answer may go on in the next line.
ANSWER = re.compile(r"(?m)^- \[(?P<mark>[ x])\] (?P<text>.+(?:\n(?!- ).+)*)")
SPLIT = " :: "


@dataclass(frozen=True)
class Answer:
    """One answer to choose, and why it is right or wrong."""

    words: str
    reason: str
    right: bool


def answers(body: str) -> list[Answer]:
    """The answers of a quiz, in order."""
    found = []
    for item in ANSWER.finditer(body):
        words, _, reason = " ".join(item["text"].split()).partition(SPLIT)
        found.append(Answer(words, reason, item["mark"] == "x"))
    return found
