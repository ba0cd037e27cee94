"""Let a docstring describe a field on one line: `losses : (N,) float32, cross-entropy of the given labels.`

Napoleon takes what follows the colon for a type and would look up every word of it. Here it becomes the description;
the type stands in the signature already.
"""

import re
from typing import Any

from sphinx.application import Sphinx

SECTION_RULE = re.compile(r"-{3,}\s*")
FIELD = re.compile(r"(?P<name>\w+(?:, \w+)*) : (?P<text>.+)")


def describe_fields(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Move the text of `name : text` to a line of its own, in every section that is headed by a rule of dashes."""
    in_section, described = False, []
    for line in lines:
        in_section |= bool(SECTION_RULE.fullmatch(line))
        field = FIELD.fullmatch(line) if in_section else None
        # Without blanks: of "a, b" napoleon would take "a," for the type of b.
        described += [field["name"].replace(" ", ""), "    " + field["text"]] if field else [line]
    lines[:] = described


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon, whose priority is the default of 500."""
    app.connect("autodoc-process-docstring", describe_fields, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
