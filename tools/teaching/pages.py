"""Plain Markdown as HTML that needs nothing from the network: formulas are set by the MathJax in the kit."""

import html
from string import Template

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="stylesheet" href="$assets/pages.css">
<script src="$assets/formulas.js"></script>
<script src="$assets/mathjax/tex-svg.js" defer></script>
</head>
<body>
<main>
$body</main>
</body>
</html>
""")


def formula(content: str, options: dict) -> str:
    """A formula between the marks that `formulas.js` looks for."""
    opening, closing = ("\\[", "\\]") if options["display_mode"] else ("\\(", "\\)")
    return f"{opening}{html.escape(content.strip())}{closing}"


MARKDOWN = MarkdownIt("commonmark").enable("table").use(deflist_plugin).use(dollarmath_plugin, renderer=formula)


def to_html(text: str) -> str:
    """HTML of plain Markdown."""
    return MARKDOWN.render(text)


def top_blocks(text: str) -> list[SyntaxTreeNode]:
    """Headings, paragraphs, lists, tables, formulas, ... of a text, in order."""
    return SyntaxTreeNode(MARKDOWN.parse(text)).children


def block_html(block: SyntaxTreeNode) -> str:
    """HTML of one of them."""
    return MARKDOWN.renderer.render(block.to_tokens(), MARKDOWN.options, {})


def page(title: str, text: str, assets: str) -> str:
    """A page to read or print; `assets` is the relative address of the kit's style and scripts."""
    return PAGE.substitute(title=html.escape(title), body=to_html(text), assets=assets)
