"""What stands on a command line, as values: `tau=0.7` is a number, `meta=off` a word."""

import json
from typing import Any

from nlcore.basics.errors import InputError


def key_values(assignments: list[str] | None) -> dict[str, Any]:
    """`["tau=0.7", "strong=true", "meta=off"]` -> `{"tau": 0.7, "strong": True, "meta": "off"}`."""
    pairs = {}
    for assignment in assignments or []:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"{assignment!r} is not of the form KEY=VALUE")
        key = key.strip()
        if key in pairs:
            raise InputError(f"{key} is said twice; say it once")
        pairs[key] = plain_value(value.strip())
    return pairs


def plain_value(text: str) -> Any:
    """What a JSON reader or `float` makes of a text, else the text. Not YAML: it reads `off` as false, 1e-3 as text."""
    if text.lower() in ("true", "false", "null"):
        text = text.lower()
    for read in (json.loads, float):
        try:
            return read(text)
        except ValueError:
            pass
    return text
