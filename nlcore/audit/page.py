"""One HTML file that asks nothing of any server: its parts put together, with pictures and data inside it.

The elements are in `report.html`, the looks in `report.css`, the behaviour in the scripts, beside this file.
"""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from itertools import accumulate
from string import Template
from typing import Any

import numpy as np

# One needs those before it.
SCRIPTS = ("estimate.js", "decisions.js", "elements.js", "overview.js", "gallery.js", "choice.js", "report.js")
SIDE = 160  # pixels that the longer side of a picture keeps: what a thumbnail shows, and some more for the one in focus
AS_IT_IS = 64  # up to so many pixels a side, a picture is stored exactly
QUALITY = 78  # of a JPEG


def as_json(value: Any) -> str:
    """JSON that can stand in a page: without `<`, since a name like `</script>` would end the data in the middle.

    Raises
    ------
    ValueError : NaN or infinity, which no browser reads.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def as_bytes(text: str) -> bytes:
    """UTF-8. The name of a file may hold bytes that are no UTF-8; Python reads them as half characters, which become
    escapes: JSON has the same ones."""
    return text.encode("utf-8", "backslashreplace")


def picture_address(picture: np.ndarray) -> tuple[str, int, int]:
    """A data address of a picture (H, W) or (H, W, 3) uint8, and the width and height of what it shows.

    A tiny one is kept to the pixel. A larger one is reduced, and a JPEG where that is smaller.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    image = Image.fromarray(np.ascontiguousarray(picture[..., 0] if picture.shape[2:] == (1,) else picture))
    if max(height, width) <= AS_IT_IS:
        return _address(image, "png"), width, height
    image.thumbnail((SIDE, SIDE))
    return min(_address(image, "png"), _address(image, "jpeg"), key=len), *image.size


def _address(image, kind: str) -> str:
    content = io.BytesIO()
    image.save(content, kind, quality=QUALITY, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def how_many_fit(sizes: Sequence[int], room: int) -> int:
    """How many of the first parts have no more bytes together than there is room for."""
    return sum(total <= room for total in accumulate(sizes))


def assembled(title: str, summary: str, data: str) -> bytes:
    """The page.

    Parameters
    ----------
    title : plain text.
    summary : HTML, in which names are escaped already.
    data : from `as_json`.
    """
    style = _part("report.css")
    script = '(() => {\n"use strict";\n' + "".join(map(_part, SCRIPTS)) + "})();"
    parts = {"title": escape(title), "summary": summary, "data": data, "style": style, "script": script}
    return as_bytes(Template(_part("report.html")).substitute(parts, policy=_policy(style, script)))


def _part(name: str) -> str:
    return files("nlcore.audit").joinpath(name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """What the browser lets the page do: this style and this script, pictures that are inside it, and nothing else.

    What is smuggled in by a name can neither run nor ask another host.
    """
    allowed = [f"{kind}-src 'sha256-{_hash(text)}'" for kind, text in (("style", style), ("script", script))]
    return "; ".join(["default-src 'none'", *allowed, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(as_bytes(text)).digest()).decode()
