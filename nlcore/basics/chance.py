"""Chance that can be repeated: a seed for each use of it, and a guard for code that only knows torch's global one."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nlcore.basics.ranges import Range

SEEDS = Range(0, 2**32 - 1)  # torch's generator on a CPU takes a larger one for its remainder


def stream(seed: int, purpose: str) -> int:
    """A seed for one use of chance, from the seed of the run and the name of the use.

    Noise is drawn from the seed itself. Were the hold-out drawn from it too, the same permutation would choose both,
    and the hold-out would be made of wrong labels.
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:6])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run torch's global generator from `seed` inside the block and restore it afterwards.

    For code that offers no generator argument, such as weight initialisation and dropout.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
