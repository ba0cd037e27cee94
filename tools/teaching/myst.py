"""MyST text as plain Markdown: directives and roles become words that any Jupyter shows.

Only what the book uses has a rendering of its own. Other roles become their text, other directives a quotation.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from myst_nb.core.variables import format_plain_text
from myst_nb.ext.glue import extract_glue_data_cell
from nbformat import NotebookNode
from pybtex.database import Entry, parse_file
from pybtex.richtext import Text

from tools.teaching.quizzes import answers

OPENING = re.compile(r" {0,3}(`{3,}|~{3,}|:{3,})(?:\{([\w:-]+)\}\s*(.*)|.*)$")
OPTION = re.compile(r":([\w-]+):(.*)")
ROLE = re.compile(r"\{([a-z][\w:.-]*)\}`([^`]+)`")
EXPLICIT = re.compile(r"(?s)(.+?)\s*<([^<>]+)>")  # words <target>
TITLED = {"admonition", "dropdown"}  # other admonitions have no title of their own


@dataclass(frozen=True)
class Block:
    """A part of a text: `text`, `code` (a fence that stays as it is), or a directive under its own name."""

    kind: str
    body: str
    title: str = ""
    options: Mapping[str, str] = field(default_factory=dict)  # such as class, of a directive

    @property
    def classes(self) -> set[str]:
        """The classes of a directive."""
        return set(self.options.get("class", "").split())


@dataclass(frozen=True)
class Reference:
    """A work as it is cited, and as it is listed."""

    authors: str
    year: str
    listing: str


@dataclass(frozen=True)
class Context:
    """What roles refer to, and where links to chapters lead."""

    chapter: str = ""  # the one that the text is from
    link: str = "{}.ipynb"  # address of a chapter, seen from the text
    glued: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # chapter → key → value as text
    references: Mapping[str, Reference] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)  # page, such as notebooks/02_mining → its title


# --- directives ------------------------------------------------------------------------------------------------------


def blocks(text: str) -> list[Block]:
    """Cut a text into its directives, its fenced code and the rest, in order."""
    found, plain, lines = [], [], text.split("\n")
    number = 0
    while number < len(lines):
        opening = OPENING.match(lines[number])
        if not opening:
            plain.append(lines[number])
            number += 1
            continue
        fence, name, title = opening.groups()
        end = next((n for n in range(number + 1, len(lines)) if closes(lines[n], fence)), len(lines))
        found.append(Block("text", "\n".join(plain)))
        plain = []
        if name:
            found.append(directive(name, title.strip(), lines[number + 1 : end]))
        else:
            found.append(Block("code", "\n".join(lines[number : end + 1])))
        number = end + 1
    return [block for block in [*found, Block("text", "\n".join(plain))] if block.body.strip() or block.kind != "text"]


def closes(line: str, fence: str) -> bool:
    """Whether a line ends what `fence` began: the same character, at least as often."""
    line = line.strip()
    return len(line) >= len(fence) and set(line) == {fence[0]}


def directive(name: str, title: str, lines: list[str]) -> Block:
    """A directive of these lines, which may begin with its options, `:key: value`."""
    options = {}
    while lines and (option := OPTION.match(lines[0].strip())):
        options[option[1]] = option[2].strip()
        lines = lines[1:]
    return Block(name, "\n".join(lines), title, options)


def readable(text: str, context: Context, solutions: bool = True) -> str:
    """Plain Markdown for a MyST text, with or without its solutions."""
    parts = [plain_block(block, context, solutions) for block in blocks(text)]
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()).strip()


def plain_block(block: Block, context: Context, solutions: bool) -> str:
    """Plain Markdown for one block."""
    if block.kind == "text":
        return plain_text(block.body, context)
    if block.kind == "code":
        return block.body
    if block.kind.startswith("solution") and not solutions:
        if block.kind == "solution":
            return ""
        raise ValueError(f"{context.chapter}: a {block.kind} in a cell without the tag `solution`")
    if block.kind == "math":
        return f"$$\n{block.body.strip()}\n$$"
    if block.kind in ("code-block", "code"):
        return f"```{block.title}\n{block.body}\n```"
    if block.kind == "figure":
        return f"![{block.options.get('alt', '')}]({block.title})\n\n{readable(block.body, context, solutions)}"
    body = readable(choices(block) if not solutions else block.body, context, solutions)
    title = plain_text(block.title, context)
    if block.kind in ("exercise", "exercise-start"):
        return f"**Exercise: {title}**\n\n{body}"
    if block.kind in ("solution", "solution-start"):
        return f"**Solution**\n\n{body}"
    if block.kind in ("exercise-end", "solution-end"):
        return ""
    if block.kind not in TITLED:
        title, body = block.kind.capitalize(), f"{title}\n{body}"
    quoted = f"**{title}**\n\n{body.strip()}".split("\n")
    return "\n".join(f"> {line}".rstrip() for line in quoted)


def choices(block: Block) -> str:
    """The body of a block for those who shall not see solutions: of a quiz nothing but its answers."""
    if "quiz" not in block.classes:
        return block.body
    return "\n".join(f"- {answer.words}" for answer in answers(block.body))


# --- roles -----------------------------------------------------------------------------------------------------------


def plain_text(text: str, context: Context) -> str:
    """Text without roles, targets and links to pages that are not in the kit."""
    text = re.sub(r"(?m)^\([\w-]+\)=\n?", "", text)
    text = re.sub(r"(\$\$) \([\w-]+\)", r"\1", text)  # the label of a formula
    text = re.sub(r"\[([^\]]+)\]\(\.\./book/[^)]*\)", r"\1", text)
    text = re.sub(r"\]\((?:\.\./notebooks/)?(\w+)\.ipynb\)", lambda match: f"]({context.link.format(match[1])})", text)
    return ROLE.sub(lambda match: plain_role(match[1], match[2], context), text)


def plain_role(name: str, content: str, context: Context) -> str:
    """The words that a role stands for."""
    if name in ("glue:text", "glue"):
        return glued_value(content, context)
    if name.startswith("cite"):
        cited = [context.references[key.strip()] for key in content.split(",")]
        if name == "cite:t":
            return ", ".join(f"{work.authors} ({work.year})" for work in cited)
        return "(" + "; ".join(f"{work.authors} {work.year}" for work in cited) + ")"
    if name == "math":
        return f"${content}$"
    explicit = EXPLICIT.fullmatch(content)
    words, target = explicit.groups() if explicit else ("", content)
    if name == "doc":
        return page_link(words, target, context)
    if name.startswith("py:"):
        return words or f"`{target.removeprefix('~').rsplit('.', 1)[-1] if target[0] == '~' else target}`"
    return words or target.replace("-", " ")


def glued_value(content: str, context: Context) -> str:
    """A value of an executed notebook as the book's page writes it, for `key`, `key:format` or `page::key:format`."""
    key, _, spec = content.rpartition(":") if re.search(r"[^:]:[^:]+$", content) else (content, "", "s")
    page, _, key = key.rpartition("::")
    chapter = PurePosixPath(page).stem if page else context.chapter
    return format_plain_text(context.glued[chapter][key], spec)


def page_link(words: str, target: str, context: Context) -> str:
    """A link to a chapter; the title of any other page, which the kit does not have."""
    # Pages are named from the root (/notebooks/x), from beside (x) or from book/ (../notebooks/x).
    name = PurePosixPath(target).name
    page = f"notebooks/{name}" if f"notebooks/{name}" in context.titles else f"book/{name}"
    words = words or context.titles[page]
    return f"[{words}]({context.link.format(name)})" if page.startswith("notebooks/") else words


# --- what roles refer to ---------------------------------------------------------------------------------------------


def glued_values(notebook: NotebookNode) -> dict[str, str]:
    """Everything that an executed notebook has glued, as the text of its value."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = {key: data["data"] for cell in code for key, data in extract_glue_data_cell(deepcopy(cell))}
    return {key: data["text/plain"] for key, data in found.items() if "text/plain" in data}


def read_references(path: Path) -> dict[str, Reference]:
    """The works of a BibTeX file by their keys."""
    return {key: reference(entry) for key, entry in parse_file(str(path)).entries.items()}


def reference(entry: Entry) -> Reference:
    """How a work is cited: `Li et al.`, and listed."""
    names = [
        unlatex(" ".join([*person.prelast_names, *person.last_names])) for person in entry.persons.get("author", [])
    ]
    authors = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
    fields = {name: unlatex(value) for name, value in entry.fields.items()}
    place = next((fields[name] for name in ("journal", "booktitle", "institution", "publisher") if name in fields), "")
    parts = [f"{authors} ({fields['year']})", fields["title"], place]
    parts += [fields[name] for name in ("note", "howpublished") if name in fields]
    return Reference(authors, fields["year"], ". ".join(part.rstrip(".") for part in parts if part) + ".")


def unlatex(text: str) -> str:
    """Text without LaTeX's braces and accents."""
    return str(Text.from_latex(text))


def cited_keys(text: str) -> list[str]:
    """The works that a text cites, each once, in order."""
    cited = [
        key.strip() for name, content in ROLE.findall(text) if name.startswith("cite") for key in content.split(",")
    ]
    return list(dict.fromkeys(cited))
