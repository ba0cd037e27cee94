"""Data that come as vectors: embeddings, rows of a table, text reduced to numbers.

A vector is a row of floats, half or single precision, and stays one: a million rows of 512 halves in a memory map are
read where they lie. What can go wrong in a column is found before anything is trained on it, and named.
"""

import logging

import torch

from nlcore.basics.errors import InputError

log = logging.getLogger(__name__)

ROWS_AT_ONCE = (
    2_000  # rows that are looked at at once: more than fit into the cache of a processor take three times as long
)
NAMED = 5  # columns that a message names


def check_vectors(vectors: torch.Tensor, what: str) -> None:
    """Raise an `InputError` unless `vectors` is a finite (N, d) tensor of floats; the message names bad columns."""
    if vectors.ndim != 2 or vectors.shape[1] == 0 or not vectors.is_floating_point():
        kind = f"{vectors.dtype} {tuple(vectors.shape)}"
        raise InputError(f"{what} vectors must be floats of shape (N, d), not {kind}")
    bad = torch.zeros(vectors.shape[1], dtype=torch.bool)
    first = None
    for number, rows in enumerate(vectors.split(ROWS_AT_ONCE)):
        broken = ~rows.isfinite()
        bad |= broken.any(0)
        if first is None and bool(broken.any()):
            first = number * ROWS_AT_ONCE + int(broken.any(1).nonzero()[0])
    if first is not None:
        raise InputError(f"{what} vectors hold NaN or infinity in {_named(bad)}, first in row {first}")


def vector_statistics(vectors: torch.Tensor, what: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of every column of (N, d): two (d,) float32.

    A column that is the same everywhere tells nothing: it is named in a warning, and its deviation is given as 1, so
    that it becomes 0 when it is standardised.
    """
    n = len(vectors)
    mean = sum(rows.double().sum(0) for rows in vectors.split(ROWS_AT_ONCE)) / n
    variance = sum((rows.double() - mean).square().sum(0) for rows in vectors.split(ROWS_AT_ONCE)) / n
    std = variance.sqrt()
    constant = std <= 1e-9 * mean.abs().clamp(min=1e-30)
    if bool(constant.any()):
        log.warning("%s vectors: %s the same in every row", what, _named(constant, verb=True))
    return mean.float(), torch.where(constant, torch.ones_like(std), std).float()


def _named(columns: torch.Tensor, verb: bool = False) -> str:
    """`column 3`, `columns 1, 4 and 7` or `columns 0, 1, 2, 3, 4 and 17 more`, of those marked in (d,) bool."""
    numbers = [str(number) for number in columns.nonzero().flatten().tolist()]
    shown = numbers if len(numbers) <= NAMED else [*numbers[:NAMED], f"{len(numbers) - NAMED} more"]
    words = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"column{'s' * (len(numbers) > 1)} {words}" + (f" {'are' if len(numbers) > 1 else 'is'}" if verb else "")
