"""What the outputs of a chapter's cells become on slides: figures with their captions, tables, frames, notes."""

import base64
import html
import re

from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from tools.teaching.copies import caption, figure_words, shown_outputs
from tools.teaching.deck import ROOM, Deck, Part, lines_of, scrolling, table
from tools.teaching.myst import Context, readable
from tools.teaching.pages import to_html

LEAST = 9  # lines below which a figure cannot be read; it takes all the room that is left


def add_code(made: Deck, source: str) -> None:
    """Show code in colours that keep their contrast."""
    part = highlight(source, PythonLexer(), HtmlFormatter(noclasses=True, style="a11y-high-contrast-light"))
    made.show(Part(scrolling(part), 0.8 * (1 + source.count("\n"))))


def add_outputs(made: Deck, cell: NotebookNode, context: Context) -> list[str]:
    """Show the outputs of a cell, each in the richest form that a slide can show; return the texts among them."""
    words, below = figure_words(cell), readable(caption(cell), context)
    texts = []
    for output in shown_outputs(cell):
        data = output.get("data", {})
        image = next((kind for kind in ("image/png", "image/svg+xml") if kind in data), None)
        page = data.get("text/html", "")
        if image:
            add_figure(made, embedded(image, data[image]), words or f"Figure: {made.last.heading}", below)
        elif "text/markdown" in data:
            texts.append(data["text/markdown"])
        elif "<script" in page or "<iframe" in page:
            made.show(Part(interactive(page, words), ROOM - 1, figure=True))
        elif "<table" in page:
            add_table(made, page)
        elif page:
            made.say(" ".join(re.sub(r"<[^>]+>", " ", page).split()))
        else:
            add_print(made, output.get("text") or data.get("text/plain", ""))
    return texts


def add_figure(made: Deck, source: str, words: str, below: str) -> None:
    """Show an image with its words for those who cannot see it, and its caption."""
    image = f'<img src="{source}" alt="{html.escape(words)}">'
    lines = LEAST + (lines_of(below) if below else 0)
    made.show(Part(f"<figure>{image}{figcaption(below)}</figure>", lines, figure=True))


def figcaption(below: str) -> str:
    """The caption of a figure, which may have none."""
    return f"<figcaption>{to_html(below).strip()}</figcaption>" if below else ""


def embedded(kind: str, content: str) -> str:
    """The address of an image inside the page."""
    if kind == "image/svg+xml":
        content = base64.b64encode(content.encode()).decode()
    return f"data:{kind};base64,{''.join(content.split())}"


def add_table(made: Deck, page: str) -> None:
    """Show a table without what pandas adds; its head does not count as rows."""
    part = re.sub(r"(?s)<style.*?</style>|<caption.*?</caption>", "", page).strip()
    rows = re.sub(r"(?s)<thead.*?</thead>", "", part).count("<tr")
    made.show(table(part, 0.9 * part.count("<tr"), rows))


def add_print(made: Deck, text: str) -> None:
    """Say what was printed, or show it like a table if it is long."""
    text = text.strip("\n")
    rows = 1 + text.count("\n")
    if rows > 2:
        made.show(table(f"<pre>{html.escape(text)}</pre>", 0.8 * rows, rows))
    elif text:
        made.say(text)


def interactive(content: str, words: str) -> str:
    """A part with scripts, in a frame of its own: neither its style nor its keys meet those of the slides."""
    title = html.escape(words or "Interactive figure")
    return f'<iframe srcdoc="{html.escape(content)}" title="{title}"></iframe>'
