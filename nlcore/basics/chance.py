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
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Run torch's global generator from `seed` inside the block and restore it afterwards: that of the CPU, and that of
    a `device` on which the block draws too. Those of all other devices are neither seeded nor saved.

    For code that offers no generator argument, such as weight initialisation and dropout.
    """
    others = [] if device is None or device.type == "cpu" else [device]
    with torch.random.fork_rng(others, device_type=others[0].type if others else "cuda"):
        torch.default_generator.manual_seed(seed)
        for other in others:
            drawn_from = torch.Generator(other).manual_seed(seed)
            torch.get_device_module(other).set_rng_state(drawn_from.get_state(), other)
        yield
