"""Sphinx extension: a question with answers to choose from, which works on a page without a script.

An admonition of class `quiz` has the question as its title and a task list as its body, each answer with its reason:

    ```{admonition} How many labels are wrong?
    :class: quiz
    - [ ] a wrong answer :: why it is wrong
    - [x] the right answer :: why it is right
    ```

Answers become radio buttons, which the keyboard knows; the reason is shown beside the one that was chosen, by style
alone. An answer without a reason, and any number of right answers but one, is a warning.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

SPLIT = " :: "
log = logging.getLogger(__name__)


class Quizzes(SphinxTransform):
    """Turn the task lists of quizzes into radio buttons."""

    default_priority = 500

    def apply(self) -> None:
        asked = [box for box in self.document.findall(nodes.admonition) if "quiz" in box["classes"]]
        page = self.env.docname.replace("/", "-")
        for number, box in enumerate(asked, start=1):
            answers = [item for item in box.findall(nodes.list_item)]
            right = [item for item in answers if is_right(item)]
            if len(right) != 1 or any(SPLIT not in item.astext() for item in answers):
                log.warning("a quiz needs one right answer, and a reason after '::' for each", location=box)
                continue
            shown = nodes.container("", classes=["quiz-answers"])
            for place, item in enumerate(answers, start=1):
                shown += answer(item, f"quiz-{page}-{number}", f"quiz-{page}-{number}-{place}")
            (task_list,) = {item.parent for item in answers}
            task_list.replace_self(shown)


def is_right(item: nodes.list_item) -> bool:
    """Whether the box of a task list's item is ticked."""
    return any('checked="checked"' in raw.astext() for raw in item.findall(nodes.raw))


def answer(item: nodes.list_item, name: str, key: str) -> nodes.paragraph:
    """A radio button, the answer as its label, and the reason, which style shows once it is chosen."""
    inline = [child for block in item.children for child in block.children if not isinstance(child, nodes.raw)]
    at = next(place for place, child in enumerate(inline) if isinstance(child, nodes.Text) and SPLIT in child)
    before, _, after = inline[at].astext().partition(SPLIT)
    label, reason = [*inline[:at], nodes.Text(before)], [nodes.Text(after), *inline[at + 1 :]]
    if isinstance(label[0], nodes.Text):
        label[0] = nodes.Text(label[0].lstrip())  # the space that stood between the box and the answer
    verdict = ("right", "Right: ") if is_right(item) else ("wrong", "No: ")
    return nodes.paragraph(
        "",
        "",
        html(f'<input type="radio" name="{name}" id="{key}"><label for="{key}">'),
        *label,
        html(f'</label><span class="why {verdict[0]}" role="status"><strong>{verdict[1]}</strong>'),
        *reason,
        html("</span>"),
        classes=["quiz-answer"],
    )


def html(text: str) -> nodes.raw:
    """HTML as it is."""
    return nodes.raw("", text, format="html")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(Quizzes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
