"""tools/teaching/questions.py: what the class is asked, and that the answers are in the speaker's notes alone."""

from collections import defaultdict
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from nbformat.v4 import new_markdown_cell, new_notebook

from tools.teaching.kit import pages_of, title_of
from tools.teaching.myst import Context, blocks, read_references
from tools.teaching.questions import ASK, POLL, without_pointer
from tools.teaching.quizzes import Answer, answers
from tools.teaching.slides import deck

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CONTEXT = Context(chapter="one", glued={"one": {"rate": "40"}}, titles={"notebooks/one": "One"})
CHAPTER = """\
# One

An introduction.

```{admonition} Guess first
:class: tip
Of the labels {glue:text}`rate` % are wrong.

1. Is that *much*?
2. Or $x^2$? {numref}`fig-one` has the answer.
```

Most is stored.

## Losses

**Wrong labels have large losses.** So look.

```{admonition} Three lines to remember
:class: important
- It is much.
```

## Check yourself

```{admonition} 1. How *many*?
:class: quiz
- [ ] not `three` :: there are $4$
- [x] four,
  of course :: they were counted
```

## Exercises
"""


def slides(chapter: str, context: Context) -> list[Tag]:
    page = deck(new_notebook(cells=[new_markdown_cell(chapter)]), context)
    return BeautifulSoup(page, "lxml").select(".slides > section")


def shown(slide: Tag) -> str:
    return " ".join(slide.select_one(".body").get_text().split())


def said(slide: Tag) -> list[str]:
    return [" ".join(block.get_text().split()) for block in slide.select(".notes > *")]


def test_order_of_a_deck() -> None:
    found = slides(CHAPTER, CONTEXT)
    kinds = ["title", "predict", "section", "section", "summary", "poll"]
    assert [slide["class"][0] for slide in found] == kinds
    headings = ["One", "Guess first", "One continued", "Losses", "Three lines to remember", "How many?"]
    assert [slide.find(["h1", "h2"]).get_text() for slide in found] == headings


def test_question_stands_alone_and_the_thesis_on_the_next_slide_but_one_that_is_prose() -> None:
    _, guess, prose, section, *_ = slides(CHAPTER, CONTEXT)
    assert shown(guess) == r"Of the labels 40 % are wrong. Is that much? Or \(x^2\)?"
    assert guess.select_one("ol > li").get_text() == "Is that much?"
    assert shown(prose) == "Most is stored."
    assert shown(section) == "Wrong labels have large losses."


def test_answer_is_what_the_chapter_says_in_the_end() -> None:
    guess = slides(CHAPTER, CONTEXT)[1]
    assert said(guess) == [ASK, "It is much.", "fig one has the answer."]


def test_poll_shows_answers_by_letters_and_says_which_is_right_first() -> None:
    poll = slides(CHAPTER, CONTEXT)[-1]
    assert poll.h2.decode_contents() == "How <em>many</em>?"
    assert poll.ol["type"] == "A"
    assert [item.get_text() for item in poll.select("ol > li > p")] == ["not three", "four, of course"]
    assert said(poll) == [POLL, "B is right. they were counted", "A is wrong. there are $4$"]


@pytest.mark.parametrize(
    ("question", "left", "pointer"),
    [
        ("How many? {ref}`here` has the answer.", "How many?", "{ref}`here` has the answer."),
        ("Which?\nThe answers stand under\n{ref}`here`.", "Which?", "The answers stand under\n{ref}`here`."),
        ("Somebody has to answer. How?", "Somebody has to answer. How?", ""),
        ("Who answers?", "Who answers?", ""),
        ("Write a number down.", "Write a number down.", ""),
    ],
)
def test_last_sentence_that_says_where_the_answer_is_goes_to_the_notes(question: str, left: str, pointer: str) -> None:
    assert without_pointer(question) == (left, pointer)


def test_answers_are_read_over_several_lines() -> None:
    body = "- [ ] one ::\n  too\n  few\n- [x] `a :: b`, or two :: so"
    assert answers(body)[0] == Answer("one", "too few", right=False)
    assert [answer.right for answer in answers(body)] == [False, True]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_chapter_asks_one_question_and_three_polls(notebook: Path) -> None:
    titles = {name: title_of(ROOT, name) for name in pages_of(ROOT)}
    references = read_references(ROOT / "book" / "references.bib")
    glued = defaultdict(lambda: defaultdict(lambda: "1"))
    context = Context(chapter=notebook.stem, glued=glued, references=references, titles=titles)
    chapter = nbformat.read(notebook, as_version=4)
    found = BeautifulSoup(deck(chapter, context), "lxml").select(".slides > section")
    kinds = [slide["class"][0] for slide in found]
    assert kinds[:2] == ["title", "predict"] and kinds.count("predict") == kinds.count("summary") == 1
    guess = found[1]
    assert "answer" not in shown(guess).rpartition("?")[2]
    assert len(guess.select(".notes li")) == 3
    polls = [slide for slide in found if slide["class"] == ["poll"]]
    assert len(polls) == 3
    for poll in polls:
        verdicts = [line[1:].startswith(" is right. ") for line in said(poll)[1:]]
        assert verdicts == [True] + [False] * (len(poll.select("ol > li")) - 1)
        assert all(line.partition(". ")[2] for line in said(poll)[1:])


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_answer_of_a_quiz_is_read(notebook: Path) -> None:
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "markdown"]
    quizzes = [block for cell in cells for block in blocks(cell.source) if "quiz" in block.classes]
    for quiz in quizzes:
        assert len(answers(quiz.body)) == quiz.body.count("- [")
