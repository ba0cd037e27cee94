"""A deck in the making: sections of a chapter, laid out on slides, as a page.

A section that has a figure shows it without the tables and sentences that were computed beside it: the tables are in
the teacher's notebook, the sentences are said. Elsewhere they are shown, tables if they are short. What does not fit on
a slide continues on another one.
"""

import html
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from string import Template

from tools.teaching.pages import to_html

ROOM = 15.0  # lines of text on a slide
WIDTH = 92  # characters in a line
ROWS = 8  # of the longest table that a class can read
CONTINUED = ' <span class="more">continued</span>'
SPOKEN = {"title", "section"}  # kinds of sections whose prose is said, not shown
WHOLE = {"predict", "poll"}  # a question is on one slide
LEFT_OUT = "*The teacher's notebook has a table of {} rows here.*"

PAGE = Template("""\
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


@dataclass(frozen=True)
class Part:
    """Something to show: HTML that takes so many lines, and what is said instead where a figure shows it better."""

    html: str
    lines: float
    figure: bool = False
    rows: int = 0  # of a table
    instead: str = ""


@dataclass
class Section:
    """What stands under one heading, in order: parts to show, and Markdown to say."""

    heading: str  # HTML
    kind: str = "section"
    items: list[Part | str] = field(default_factory=list)


@dataclass
class Slide:
    """One slide: what it shows, and what is said."""

    heading: str
    kind: str
    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Deck:
    """Sections in the making; the last one is being filled."""

    def __init__(self, title: str) -> None:
        self.title = html.escape(title)
        self.sections = [Section(self.title, "title")]

    @property
    def last(self) -> Section:
        """The section that is being filled."""
        return self.sections[-1]

    def start(self, heading: str, kind: str = "section") -> None:
        """Begin a section."""
        self.sections.append(Section(heading, kind))

    @contextmanager
    def inset(self, heading: str, kind: str) -> Iterator[None]:
        """A section of its own amid another one, which goes on after it."""
        around = self.last
        self.start(heading, kind)
        yield
        self.start(continued(around.heading) if around.items else around.heading)

    def show(self, part: Part) -> None:
        """Add a part to the section."""
        self.last.items.append(part)

    def say(self, text: str) -> None:
        """Add to what is said."""
        self.last.items.append(text)

    def slides(self) -> list[Slide]:
        """All slides; a heading with nothing below it is none."""
        return [slide for section in self.sections if section.items for slide in slides_of(section)]

    def page(self) -> str:
        """The page that shows the deck."""
        slides = self.slides()
        numbered = [slide_html(slide, f"{number}/{len(slides)}") for number, slide in enumerate(slides, 1)]
        return PAGE.substitute(title=self.title, slides="\n".join(numbered))


def table(part: str, lines: float, rows: int) -> Part:
    """A table of so many rows, which may be wider than the slide."""
    return Part(scrolling(part), lines, rows=rows, instead=LEFT_OUT.format(rows))


def scrolling(part: str) -> str:
    """A part that may be wider than the slide."""
    return f'<div class="wide">{part}</div>'


def continued(heading: str) -> str:
    """The heading of a slide that continues another one."""
    return heading.removesuffix(CONTINUED) + CONTINUED


def lines_of(text: str) -> float:
    """Room that a text takes, with the space below it."""
    return math.ceil(len(text) / WIDTH) + 0.4


def slides_of(section: Section) -> list[Slide]:
    """Lay a section out on slides."""
    spoken = section.kind in SPOKEN  # what an exercise asks about is shown
    figures = any(isinstance(item, Part) and item.figure for item in section.items)
    slides = [Slide(section.heading, section.kind)]
    for item in section.items:
        if isinstance(item, str):
            slides[-1].notes.append(item)
        elif spoken and item.instead and (figures or item.rows > ROWS):
            slides[-1].notes.append(item.instead)
        else:
            lines = item.lines + sum(part.lines for part in slides[-1].parts)
            if slides[-1].parts and lines > ROOM and section.kind not in WHOLE:
                kind = "section" if section.kind == "title" else section.kind
                slides.append(Slide(continued(section.heading), kind))
            slides[-1].parts.append(item)
    return slides


def slide_html(slide: Slide, number: str) -> str:
    """HTML of a slide. One that would hold nothing but its heading shows the first sentence of its notes."""
    parts = [part.html for part in slide.parts]
    if not parts and slide.notes:
        parts = [f'<div class="key">{to_html(sentences(slide.notes[0])[0])}</div>']
    level = "h1" if slide.kind == "title" else "h2"
    # Each item of a list came alone, to be put where there is room.
    body = re.sub(r'</(ul|ol)>\n<\1(?: start="\d+")?>\n', "", "\n".join(part.strip() for part in parts) + "\n")
    # The speaker's window has no MathJax: formulas stay TeX there.
    notes = re.sub(r"\\[()\[\]]", "$", "".join(map(to_html, slide.notes)))
    return (
        f'<section class="{slide.kind}" data-number="{number}">\n<{level}>{slide.heading}</{level}>\n'
        f'<div class="body">\n{body}</div>\n<aside class="notes">\n{notes}</aside>\n</section>'
    )


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph; one ends before a space and a capital letter or a mark."""
    return re.split(r"(?<=[.!?:])\s+(?=[A-Z*`$“\"])", paragraph.strip())
