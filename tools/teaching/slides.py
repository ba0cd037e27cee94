"""Slides of a chapter, made from its executed notebook.

A heading starts a slide, and its thesis, the bold beginning of the text, comes first on it. Figures, formulas and lists
follow; prose goes to the speaker's notes, code is left out unless its cell has the tag `slide-code`. The question that
a chapter opens with, and each of its quizzes, is on a slide of its own with the answer in the notes.
"""

import html
import re
from dataclasses import replace

from markdown_it.tree import SyntaxTreeNode
from nbformat import NotebookNode

from tools.stamp import author_cells
from tools.teaching.copies import tags
from tools.teaching.deck import CONTINUED, SPOKEN, Deck, Part, lines_of, scrolling, sentences, table
from tools.teaching.myst import Block, Context, blocks, plain_block, readable
from tools.teaching.outputs import add_code, add_figure, add_outputs
from tools.teaching.pages import block_html, to_html, top_blocks
from tools.teaching.questions import GUESS, SUMMARY, add_guess, add_poll

SILENT = {"check", "stub", "solution", "remove-cell", "remove-output", "hide-output", "hide-cell"}
THESIS = re.compile(r"(?s)\*\*(.+?[.!?])\*\*")
ASIDES = {"provenance", "dropdown"}  # classes of admonitions that a reader may pass over


def deck(executed: NotebookNode, context: Context) -> str:
    """The page of a chapter's slides."""
    made = Deck(context.titles[f"notebooks/{context.chapter}"])
    cells = [cell for cell in author_cells(executed) if "solution" not in tags(cell)]
    texts = {id(cell): blocks(cell.source) for cell in cells if cell.cell_type == "markdown"}
    summary = next((block.body for found in texts.values() for block in found if block.title == SUMMARY), "")
    for cell in cells:
        if cell.cell_type == "markdown":
            for block in texts[id(cell)]:
                add_block(made, block, context, summary)
        elif not SILENT & tags(cell):
            if "slide-code" in tags(cell):
                add_code(made, cell.source)
            for text in add_outputs(made, cell, context):
                add_text(made, readable(text, context, solutions=False), computed=True)
    return made.page()


def add_block(made: Deck, block: Block, context: Context, summary: str) -> None:
    """Put a part of the chapter's text on slides. All of an exercise is shown, and nothing of its solution."""
    if block.kind in ("exercise", "exercise-start"):
        made.start(f"Exercise: {html.escape(block.title)}", "exercise")
        add_text(made, readable(block.body, context, solutions=False))
    elif block.kind == "figure":
        below = readable(block.body, context, solutions=False)
        add_figure(made, html.escape(block.title), block.options.get("alt", ""), below)
    elif block.title == GUESS:
        add_guess(made, block, context, summary)
    elif "quiz" in block.classes:
        add_poll(made, block, context)
    elif block.title == SUMMARY:
        with made.inset(SUMMARY, "summary"):
            add_text(made, readable(block.body, context, solutions=False))
    elif block.classes & ASIDES or block.kind == "dropdown":
        made.say(plain_block(block, context, solutions=False))
    else:
        add_text(made, plain_block(block, context, solutions=False))


def add_text(made: Deck, text: str, computed: bool = False) -> None:
    """Headings start slides, lists, tables and formulas go on them; paragraphs are said, and in exercises shown.

    A computed list says in words what the figure beside it shows.
    """
    lead = ""  # what announces the next list or formula
    for block in top_blocks(text):
        if block.type == "heading":
            if block.tag != "h1":
                heading = block_html(block.children[0])
                made.start(heading, "reading" if heading == "Further reading" else "section")
            lead = ""
        elif block.type == "paragraph" and made.last.kind in SPOKEN:
            words = block.children[0].content
            add_thesis(made, words)
            made.say(words)
            lead = announcement(words)
        else:
            for part in shown_parts(block, computed):
                made.show(replace(part, html=to_html(lead) + part.html, lines=part.lines + lines_of(lead) * bool(lead)))
                lead = ""


def add_thesis(made: Deck, paragraph: str) -> None:
    """Show the thesis of a section, if this is its first paragraph and begins with one."""
    thesis = THESIS.match(paragraph)
    fresh = made.last.kind == "section" and not made.last.items and not made.last.heading.endswith(CONTINUED)
    if thesis and fresh:
        made.show(Part(f'<div class="thesis">{to_html(thesis[1])}</div>', lines_of(thesis[1])))


def announcement(paragraph: str) -> str:
    """The last sentence of a paragraph, if it does not end there but leads on to a list or a formula."""
    ends = (".", "?", "!", ".)", ".**", "?**", "!**")
    return "" if paragraph.rstrip().endswith(ends) else sentences(paragraph)[-1]


def shown_parts(block: SyntaxTreeNode, computed: bool) -> list[Part]:
    """A block in parts that can be put on different slides."""
    if block.type in ("bullet_list", "ordered_list"):
        first, tag = int(block.attrs.get("start", 1)), block.tag
        parts = []
        for number, item in enumerate(block.children, first):
            opening = f'<ol start="{number}">' if tag == "ol" else "<ul>"
            words = source_of(item)
            instead = f"- {words}" if computed else ""
            parts.append(Part(f"{opening}\n{block_html(item)}</{tag}>", lines_of(words), instead=instead))
        return parts
    part = block_html(block)
    if block.type == "table":
        return [table(part, 1.2 * part.count("<tr"), part.count("<tr") - 1)]
    if block.type == "fence":
        return [Part(scrolling(part), 0.8 * part.count("\n"))]
    if block.type in ("math_block", "math_block_label"):
        return [Part(part, 2.0 * (1 + block.content.count(r"\\")))]
    return [Part(part, lines_of(source_of(block)))]


def source_of(block: SyntaxTreeNode) -> str:
    """The text inside a block."""
    return " ".join(node.content for node in block.walk() if node.type == "inline")
