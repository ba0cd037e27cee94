"""Slides of a chapter, made from its executed notebook.

A heading starts a slide. Figures, tables, formulas and lists are on it, prose goes to the speaker's notes; code is left
out unless its cell has the tag `slide-code`. What does not fit continues on another slide.
"""

import base64
import html
import math
import re
from dataclasses import dataclass, field
from string import Template

from markdown_it.tree import SyntaxTreeNode
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from tools.stamp import author_cells
from tools.teaching.copies import figure_words, shown_outputs, tags
from tools.teaching.myst import Block, Context, blocks, plain_block, readable
from tools.teaching.pages import block_html, to_html, top_blocks

ROOM = 15.0  # lines of text on a slide
WIDTH = 92  # characters in a line
CONTINUED = ' <span class="more">continued</span>'
SPOKEN = {"title", "section"}  # kinds of slides whose prose is said, not shown
SILENT = {"check", "stub", "solution", "remove-cell", "remove-output", "hide-output", "hide-cell"}

DECK = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title (slides)</title>
<link rel="stylesheet" href="assets/reveal/reset.css">
<link rel="stylesheet" href="assets/reveal/reveal.css">
<link rel="stylesheet" href="assets/slides.css">
</head>
<body>
<div class="reveal"><div class="slides">
$slides
</div></div>
<script src="assets/reveal/reveal.js"></script>
<script src="assets/reveal/notes.js"></script>
<script src="assets/formulas.js"></script>
<script src="assets/slides.js"></script>
<script src="assets/mathjax/tex-svg.js" defer></script>
</body>
</html>
""")


@dataclass
class Slide:
    """One slide: HTML parts, and the Markdown of what is said."""

    heading: str
    kind: str = "section"
    parts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lines: float = 0.0


class Deck:
    """Slides in the making; the last one is being filled."""

    def __init__(self) -> None:
        self.slides: list[Slide] = []

    def start(self, heading: str, kind: str = "section") -> None:
        """Begin a slide."""
        self.slides.append(Slide(heading, kind))

    def show(self, part: str, lines: float) -> None:
        """Put a part of so many lines on the slide, or on one that continues it."""
        last = self.slides[-1]
        if last.parts and last.lines + lines > ROOM:
            kind = "section" if last.kind == "title" else last.kind
            self.start(last.heading.removesuffix(CONTINUED) + CONTINUED, kind)
        self.slides[-1].parts.append(part)
        self.slides[-1].lines += lines

    def say(self, text: str) -> None:
        """Add to the notes of the slide."""
        self.slides[-1].notes.append(text)


def deck(executed: NotebookNode, context: Context) -> str:
    """The page of a chapter's slides."""
    title = context.titles[f"notebooks/{context.chapter}"]
    made = Deck()
    made.start(html.escape(title), "title")
    for cell in author_cells(executed):
        if "solution" in tags(cell):
            continue
        if cell.cell_type == "markdown":
            for block in blocks(cell.source):
                add_block(made, block, context)
        elif not SILENT & tags(cell):
            if "slide-code" in tags(cell):
                add_code(made, cell.source)
            for output in shown_outputs(cell):
                add_output(made, output, figure_words(cell), context)
    filled = [slide for slide in made.slides if slide.parts or slide.notes]
    return DECK.substitute(title=html.escape(title), slides="\n".join(map(section, filled)))


def section(slide: Slide) -> str:
    """HTML of a slide. One that would hold nothing but its heading shows the first sentence of its notes."""
    parts = list(slide.parts)
    if not parts and slide.notes:
        parts = [f'<div class="key">{to_html(sentences(slide.notes[0])[0])}</div>']
    level = "h1" if slide.kind == "title" else "h2"
    # Each item of a list came alone, to be put where there is room.
    body = re.sub(r'</(ul|ol)>\n<\1(?: start="\d+")?>\n', "", "\n".join(part.strip() for part in parts) + "\n")
    # The speaker's window has no MathJax: formulas stay TeX there.
    notes = re.sub(r"\\[()\[\]]", "$", "".join(map(to_html, slide.notes)))
    return (
        f'<section class="{slide.kind}">\n<{level}>{slide.heading}</{level}>\n<div class="body">\n{body}</div>\n'
        f'<aside class="notes">\n{notes}</aside>\n</section>'
    )


# --- text ------------------------------------------------------------------------------------------------------------


def add_block(made: Deck, block: Block, context: Context) -> None:
    """Put a part of the chapter's text on slides. All of an exercise is shown, and nothing of its solution."""
    if block.kind in ("exercise", "exercise-start"):
        made.start(f"Exercise: {html.escape(block.title)}", "exercise")
        add_text(made, readable(block.body, context, solutions=False))
    else:
        add_text(made, plain_block(block, context, solutions=False))


def add_text(made: Deck, text: str) -> None:
    """Headings start slides, lists, tables and formulas go on them; paragraphs are said, and in exercises shown."""
    lead = ""  # what announces the next list or formula
    for block in top_blocks(text):
        if block.type == "heading":
            if block.tag != "h1":
                heading = block_html(block.children[0])
                made.start(heading, "reading" if heading == "Further reading" else "section")
            lead = ""
        elif block.type == "paragraph" and made.slides[-1].kind in SPOKEN:
            words = block.children[0].content
            made.say(words)
            lead = announcement(words)
        else:
            for part, lines in shown_parts(block):
                made.show(to_html(lead) + part, lines + (lines_of(lead) if lead else 0))
                lead = ""


def announcement(paragraph: str) -> str:
    """The last sentence of a paragraph, if it does not end there but leads on to a list or a formula."""
    return "" if paragraph.rstrip().endswith((".", "?", "!", ".)")) else sentences(paragraph)[-1]


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph; one ends before a space and a capital letter or a mark."""
    return re.split(r"(?<=[.!?:])\s+(?=[A-Z*`$“\"])", paragraph.strip())


def lines_of(text: str) -> float:
    """Room that a text takes, with the space below it."""
    return math.ceil(len(text) / WIDTH) + 0.4


def shown_parts(block: SyntaxTreeNode) -> list[tuple[str, float]]:
    """A block in parts that can be put on different slides, each with its number of lines."""
    if block.type in ("bullet_list", "ordered_list"):
        tag = block.tag
        first = int(block.attrs.get("start", 1))
        opened = [f'<{tag} start="{first + place}">' if tag == "ol" else "<ul>" for place in range(len(block.children))]
        return [
            (f"{begin}\n{block_html(item)}</{tag}>", lines_of(source_of(item)))
            for begin, item in zip(opened, block.children, strict=True)
        ]
    part = block_html(block)
    if block.type == "table":
        return [(scrolling(part), 1.2 * part.count("<tr"))]
    if block.type == "fence":
        return [(scrolling(part), 0.8 * part.count("\n"))]
    if block.type in ("math_block", "math_block_label"):
        return [(part, 2.0 * (1 + block.content.count(r"\\")))]
    return [(part, lines_of(source_of(block)))]


def source_of(block: SyntaxTreeNode) -> str:
    """The text inside a block."""
    return " ".join(node.content for node in block.walk() if node.type == "inline")


def scrolling(part: str) -> str:
    """A part that may be wider than the slide."""
    return f'<div class="wide">{part}</div>'


# --- code and outputs ------------------------------------------------------------------------------------------------


def add_code(made: Deck, source: str) -> None:
    """Show code in colours that keep their contrast."""
    part = highlight(source, PythonLexer(), HtmlFormatter(noclasses=True, style="a11y-high-contrast-light"))
    made.show(scrolling(part), 0.8 * (1 + source.count("\n")))


def add_output(made: Deck, output: NotebookNode, words: str, context: Context) -> None:
    """Put an output on a slide, in the richest form that a slide can show."""
    data = output.get("data", {})
    image = next((kind for kind in ("image/png", "image/svg+xml") if kind in data), None)
    if image:
        made.show(figure(image, data[image], words or f"Figure: {made.slides[-1].heading}"), ROOM - 1)
    elif "text/markdown" in data:
        add_text(made, readable(data["text/markdown"], context, solutions=False))
    elif "<script" in data.get("text/html", "") or "<iframe" in data.get("text/html", ""):
        made.show(interactive(data["text/html"], words), ROOM - 1)
    elif "text/html" in data:
        table = re.sub(r"(?s)<style.*?</style>|<caption.*?</caption>", "", data["text/html"]).strip()
        made.show(scrolling(table), min(ROOM, 0.9 * table.count("<tr")))
    else:
        text = (output.get("text") or data.get("text/plain", "")).strip("\n")
        lines = 1 + text.count("\n")
        if lines > 2:
            made.show(scrolling(f"<pre>{html.escape(text)}</pre>"), min(ROOM, 0.8 * lines))
        elif text:
            made.say(text)


def figure(kind: str, content: str, words: str) -> str:
    """An image inside the page, with its words."""
    if kind == "image/svg+xml":
        content = base64.b64encode(content.encode()).decode()
    source = f"data:{kind};base64,{''.join(content.split())}"
    return f'<figure><img src="{source}" alt="{html.escape(words)}"></figure>'


def interactive(content: str, words: str) -> str:
    """A part with scripts, in a frame of its own: neither its style nor its keys meet those of the slides."""
    title = html.escape(words or "Interactive figure")
    return f'<iframe srcdoc="{html.escape(content)}" title="{title}"></iframe>'
