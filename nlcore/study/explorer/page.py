"""A recording as one piece of HTML that needs no server, no library and no network.

Its elements are in `explorer.html`, its looks in `explorer.css`, beside this file. Of its behaviour, `view.js` shows
what was recorded and `input.js` answers the reader; the page has both in one script.
"""

import base64
import hashlib
import io
import json
import math
from importlib.resources import files
from itertools import count
from string import Template

import numpy as np
import torch

from nlcore.basics.errors import InputError
from nlcore.methods import METHODS
from nlcore.noise.labels import NO_CLASS
from nlcore.study.explorer.recording import NOTHING, UNDIVIDED, Axis, Recording

BUDGET = 1_800_000  # bytes of an explorer; a page of the book has three million for all that is on it

_PARTS = ("explorer.html", "explorer.css", "view.js", "input.js")
_number = count(1)  # of explorers made by this process: two of the same record must not share an id


def html(recording: Recording, budget: int = BUDGET) -> str:
    """The explorer as one piece of HTML: data, style and script, for `IPython.display.HTML` or any page.

    Raises
    ------
    InputError : it would have more bytes than `budget`; `fitting` chooses samples that fit.
    """
    text = _fragment(recording)
    if len(text.encode()) > budget:
        raise InputError(
            f"an explorer of {len(recording.index)} samples and {recording.epochs} epochs has {len(text.encode()):,} "
            f"bytes, and {budget:,} are allowed; take fewer samples, see nlcore.study.explorer.fitting"
        )
    return text


def fitting(recording: Recording, samples: int = 2000, budget: int = BUDGET, seed: int = 0) -> Recording:
    """The record of at most so many samples, drawn at random, whose explorer keeps to the budget."""
    order = torch.randperm(len(recording.index), generator=torch.Generator().manual_seed(seed))[:samples]
    while True:
        chosen = recording.take(order.sort().values)
        size = len(_fragment(chosen).encode())
        if size <= budget or len(order) == 1:
            return chosen
        order = order[: max(1, int(0.97 * len(order) * budget / size))]


def _fragment(recording: Recording) -> str:
    # "<" is escaped: a class called </script> would end the data in the middle.
    data = json.dumps(_packed(recording), separators=(",", ":")).replace("<", "\\u003c")
    name = f"explorer-{hashlib.sha256(data.encode()).hexdigest()[:8]}-{next(_number)}"
    page, style, view, reader = (files("nlcore.study.explorer").joinpath(part).read_text("utf-8") for part in _PARTS)
    return Template(page).substitute(name=name, style=style, data=data, script=view + reader)


def _packed(recording: Recording) -> dict:
    """Plain values and bytes in base64, as `view.js` reads them. Times N and then epochs: epoch by epoch."""
    true = recording.true_labels
    return {
        "samples": recording.index.tolist(),
        "classes": list(recording.class_names),
        "given": _base64(recording.given_labels),
        "true": None if true is None else _base64(true.masked_fill(true == NO_CLASS, NOTHING)),
        "epochs": recording.epochs,
        "axes": [{"label": axis.label, "ticks": _ticks(axis)} for axis in recording.axes],
        "sprite": _sprite(recording.images),
        "methods": [
            {
                "title": METHODS[name].TITLE if name in METHODS else name,
                "sets": list(track.set_names),
                "labelled": [name in track.labelled_sets for name in track.set_names],
                "membership": _base64(track.membership.masked_fill(track.membership == UNDIVIDED, NOTHING)),
                "clean": _base64(_quantised(track.clean_prob, 0, 1)),
                "target": _base64(track.target),
                "across": _base64(_quantised(track.position[..., 0], recording.axes[0].low, recording.axes[0].high)),
                "up": _base64(_quantised(track.position[..., 1], recording.axes[1].low, recording.axes[1].high)),
            }
            for name, track in recording.tracks.items()
        ],
    }


def _ticks(axis: Axis) -> list:
    """Ticks as shares of the axis, with their texts."""
    return [[round((at - axis.low) / (axis.high - axis.low), 4), text] for at, text in axis.ticks.items()]


def _quantised(values: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Values as 0 ... 254 between the two ends; NaN is 255."""
    share = ((values.double() - low) / (high - low)).clamp(0, 1)
    return (254 * share).round().nan_to_num(NOTHING)


def _base64(values: torch.Tensor) -> str:
    return base64.b64encode(values.to(torch.uint8).numpy().tobytes()).decode()


def _sprite(images: torch.Tensor) -> dict:
    """All images as one PNG, row by row, in a data address."""
    from PIL import Image

    n, channels, height, width = images.shape
    columns = max(1, math.ceil(math.sqrt(n)))
    lines = -(-n // columns)
    sheet = np.zeros((lines * columns, height, width, channels), dtype=np.uint8)
    sheet[:n] = images.permute(0, 2, 3, 1).numpy()
    sheet = sheet.reshape(lines, columns, height, width, channels).swapaxes(1, 2)
    sheet = sheet.reshape(lines * height, columns * width, channels)
    picture = Image.fromarray(255 - sheet[..., 0] if channels == 1 else sheet)  # grey is ink, as in nlcore.study.plots
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
    return {"src": source, "columns": columns, "width": width, "height": height}
