"""Questions for the class: the one that a chapter opens with, and its quizzes as polls. Answers are in the notes."""

import re

from tools.teaching.deck import Deck, Part, lines_of
from tools.teaching.myst import Block, Context, plain_text, readable
from tools.teaching.pages import to_html
from tools.teaching.quizzes import answers

GUESS = "Guess first"  # titles of the admonitions that a chapter opens and ends with
SUMMARY = "Three lines to remember"
ASK = "Let everybody write an answer down, then compare with a neighbour. The chapter's answer, not to be shown yet:"
POLL = "Hands up for each letter, before anybody says why."


def add_guess(made: Deck, block: Block, context: Context, summary: str) -> None:
    """A slide with the question alone; what the chapter says in the end, and where, is in the notes."""
    question, where = without_pointer(block.body)
    with made.inset(GUESS, "predict"):
        text = readable(question, context)
        made.show(Part(f'<div class="question">{to_html(text)}</div>', lines_of(text)))
        for note in (ASK, readable(summary, context), readable(where, context)):
            made.say(note)


def without_pointer(question: str) -> tuple[str, str]:
    """A question, and its last sentence if that says where the answer is."""
    last = re.split(r"(?<=[.?!])\s+", question.strip())[-1]
    if "answer" not in last or last.endswith("?"):
        return question, ""
    return question.strip().removesuffix(last).strip(), last


def add_poll(made: Deck, block: Block, context: Context) -> None:
    """A slide with a question and its answers by letters; which is right, and why, is in the notes."""
    question = re.sub(r"^\d+\.\s+", "", plain_text(block.title, context))
    choices = list(zip("ABCDEFGH", answers(block.body), strict=False))
    with made.inset(to_html(question).strip().removeprefix("<p>").removesuffix("</p>"), "poll"):
        items = [to_html(readable(answer.words, context)).strip() for _, answer in choices]
        listed = "\n".join(f"<li>{item}</li>" for item in items)
        made.show(Part(f'<ol type="A">\n{listed}\n</ol>', sum(lines_of(answer.words) for _, answer in choices)))
        made.say(POLL)
        for letter, answer in sorted(choices, key=lambda choice: not choice[1].right):
            made.say(f"**{letter} is {'right' if answer.right else 'wrong'}.** {readable(answer.reason, context)}")
