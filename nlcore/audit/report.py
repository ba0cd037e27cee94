"""The report of an audit: one HTML file in which a person looks at the most suspicious samples and decides.

It needs no server and no network, and has at most ten million bytes however large the data are.
"""

import math
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from nlcore.audit.page import as_bytes, as_json, assembled, how_many_fit, picture_address
from nlcore.basics.errors import InputError
from nlcore.basics.files import save_file

BUDGET = 10_000_000  # bytes of a report: what a browser opens at once, and an email still carries
MOST_TEXT = 2000  # characters of a text; a label is judged by less
MOST_VALUES = 8  # columns, the most outstanding ones
MOST_NEIGHBOURS = 6  # classes; what is rarer is counted together
MOST_PAIRS = 200  # pairs of classes in the list, besides those of the samples that are shown
LARGEST_MATRIX = 20  # classes; a larger matrix is not read, but searched
OTHERS = -1  # instead of a class number: all other classes


@dataclass(frozen=True)
class Sample:
    """One suspicious sample.

    Attributes
    ----------
    row : row of the data set, from 0.
    name : path of the file, or "row 17".
    given, suggested : class numbers.
    quality : probability that the given label is right.
    neighbours : (class, count) of the labels of its nearest neighbours, most frequent first; may be empty.
    picture : (H, W, 3) or (H, W) uint8.
    values : (column, value, z-score of the value within the given class), the most outstanding first.
    """

    row: int
    name: str
    given: int
    suggested: int
    quality: float
    neighbours: tuple[tuple[int, int], ...]
    picture: np.ndarray | None = None
    text: str | None = None
    values: tuple[tuple[str, float, float], ...] = ()


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes
    ----------
    title : what was audited.
    digest : changes with the data and labels: the key under which the browser keeps decisions.
    class_names : K names.
    class_counts : given labels of each class.
    rows : of the data set.
    wrong : how many labels are probably wrong: estimate, lower and upper end of an interval.
    flagged : how many are called an issue, with a quality below 0.5.
    confusion : (K, K) float, estimated number of samples with true class i (row) that were given label j (column).
    samples : most suspicious first.
    method : one sentence of how it was judged.
    concerns : warnings, a sentence with a number each.
    """

    title: str
    digest: str
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    rows: int
    wrong: tuple[float, float, float]
    flagged: int
    confusion: np.ndarray
    samples: tuple[Sample, ...]
    method: str
    concerns: tuple[str, ...] = ()


def write_report(path: Path, audit: Audit, most: int = 1000) -> int:
    """Write the report, whole or not at all; returns how many samples it shows.

    That is at most `most`, and fewer where pictures and texts are large: a report keeps to `BUDGET`.

    Raises
    ------
    InputError : it cannot be written; so many classes that their names alone exceed the budget.
    """
    content, shown = report(audit, most)
    save_file(path, content)
    return shown


def report(audit: Audit, most: int = 1000, budget: int = BUDGET) -> tuple[bytes, int]:
    """The page and how many samples it shows, the first ones."""
    texts = [as_json(_packed(sample)) for sample in audit.samples[:most]]
    frame = len(_page(audit, [], audit.samples[: len(texts)]))
    room = budget - frame - 100  # numbers of samples may have some digits more than in the empty page
    if room < 0:
        raise InputError(f"{len(audit.class_names)} classes are too many for a report of {budget:,} bytes")
    shown = how_many_fit([len(as_bytes(text)) + 1 for text in texts], room)
    return _page(audit, texts[:shown], audit.samples[:shown]), shown


def _page(audit: Audit, texts: list[str], samples: tuple[Sample, ...]) -> bytes:
    pairs, left = _pairs(audit.confusion, samples)
    head = {
        "title": audit.title,
        "digest": audit.digest,
        "classes": list(audit.class_names),
        "counts": [int(count) for count in audit.class_counts],
        "rows": int(audit.rows),
        "expected": float(audit.wrong[0]),
        "pairs": pairs,
        "pairsLeft": left,
        "matrix": _matrix(audit.confusion),
    }
    data = as_json(head)[:-1] + ',"samples":[' + ",".join(texts) + "]}"
    return assembled(f"Label audit: {audit.title}", summary(audit, len(texts)), data)


def _packed(sample: Sample) -> dict:
    """A sample as the page reads it: plain values, the picture as an address, of the rest no more than is looked at."""
    few = [[int(k), int(count)] for k, count in sample.neighbours[:MOST_NEIGHBOURS]]
    rest = sum(int(count) for _, count in sample.neighbours[MOST_NEIGHBOURS:])
    packed = {
        "row": int(sample.row),
        "name": sample.name,
        "given": int(sample.given),
        "suggested": int(sample.suggested),
        "quality": round(float(sample.quality), 4),
        "neighbours": few + ([[OTHERS, rest]] if rest else []),
    }
    if sample.picture is not None:
        packed["picture"] = picture_address(sample.picture)
    if sample.text is not None:
        packed["text"], packed["cut"] = sample.text[:MOST_TEXT], max(0, len(sample.text) - MOST_TEXT)
    if sample.values:
        packed["values"] = [[name, _number(value), _number(z)] for name, value, z in sample.values[:MOST_VALUES]]
    return packed


def _number(value: float) -> float | None:
    """Six digits of a number; None for a cell that is empty or infinite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _pairs(confusion: np.ndarray, samples: tuple[Sample, ...]) -> tuple[list[list], int]:
    """(given, suggested, estimated number) of pairs of classes, most first, and how many pairs were left out.

    A pair is listed if a sample that is shown has it, or if it is among the most frequent ones.
    """
    off = np.array(confusion, dtype=float)
    np.fill_diagonal(off, 0)
    true, given = np.nonzero(off >= 0.5)
    first = np.argsort(-off[true, given], kind="stable")[:MOST_PAIRS]
    frequent = {(int(given[i]), int(true[i])) for i in first}
    held = {(int(sample.given), int(sample.suggested)) for sample in samples if sample.given != sample.suggested}
    listed = sorted(frequent | held, key=lambda pair: (-off[pair[1], pair[0]], pair))
    beyond = sum((int(g), int(t)) not in held for t, g in zip(true, given, strict=True)) - len(frequent - held)
    return [[g, t, round(float(off[t, g]), 1)] for g, t in listed], beyond


def _matrix(confusion: np.ndarray) -> list[list[float]] | None:
    """Rows of true classes, columns of given labels; None where there are too many classes."""
    if len(confusion) > LARGEST_MATRIX:
        return None
    return np.asarray(confusion, dtype=float).round(1).tolist()


def summary(audit: Audit, shown: int) -> str:
    """The beginning of the page, as HTML: how many labels are wrong, how sure that is, and what to beware of."""
    estimate, low, high = audit.wrong
    lead = f"{_about(estimate)} of {audit.rows:,} labels {'is' if estimate < 1 else 'are'} probably wrong"
    share = f"{100 * estimate / max(1, audit.rows):.1f} %"
    lines = [
        f'<p class="lead">{lead}</p>',
        f"<p>That is {share}. The number lies probably between {round(low):,} and {round(high):,}.</p>",
        _scale(audit),
        f"<p>{_issues(audit.flagged)} {_page_shows(shown, audit)}</p>",
        f'<p class="small">{escape(audit.method)}</p>',
    ]
    if audit.concerns:
        items = "".join(f"<li>{escape(concern)}</li>" for concern in audit.concerns)
        lines.append(f'<section class="concerns"><h2>Before you trust this</h2><ul>{items}</ul></section>')
    return "\n".join(lines)


def _about(number: float) -> str:
    return "Fewer than one" if number < 1 else f"About {round(number):,}"


def _issues(flagged: int) -> str:
    if flagged == 0:
        return "No label is more likely wrong than right."
    return f"{flagged:,} {'is' if flagged == 1 else 'are'} called an issue: more likely wrong than right."


def _page_shows(shown: int, audit: Audit) -> str:
    if shown == 0 and audit.samples:
        return "The samples are too large to be shown on one page."
    if shown == 0:
        return "No sample is suspicious enough to be shown."
    if shown == audit.rows:
        return "This page shows all samples, the most suspicious first."
    return f"This page shows the {shown:,} most suspicious samples; the other {audit.rows - shown:,} are not on it."


def _scale(audit: Audit) -> str:
    """The interval on a line from none to a round number above it: a drawing of what the words before it say."""
    estimate, low, high = (max(0.0, float(value)) for value in audit.wrong)
    end = min(max(audit.rows, 1), _round_up(max(high, 1.0)))
    at = [100 * min(1.0, value / end) for value in (low, high, estimate)]
    return (
        '<svg class="scale" role="img" viewBox="0 0 100 4" preserveAspectRatio="none" '
        f'aria-label="On a line from 0 to {end:,}: {round(low):,} to {round(high):,}, in it {round(estimate):,}">'
        '<rect class="line" x="0" y="1.8" width="100" height=".4"/>'
        f'<rect class="span" x="{at[0]:.2f}" y=".8" width="{max(at[1] - at[0], 0.4):.2f}" height="2.4"/>'
        f'<rect class="point" x="{min(at[2], 99.5):.2f}" y="0" width=".5" height="4"/></svg>'
        f'<p class="ends" aria-hidden="true"><span>0</span><span>{end:,} labels</span></p>'
    )


def _round_up(value: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ..."""
    power = 10 ** math.floor(math.log10(value))
    return next(int(step * power) for step in (1, 2, 5, 10) if step * power >= value)
