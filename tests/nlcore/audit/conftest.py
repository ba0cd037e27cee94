"""Blobs: four classes in six dimensions that lie far enough apart to be learnt, with labels planted wrong."""

from typing import NamedTuple

import numpy as np
import pytest
import torch


class Blobs(NamedTuple):
    vectors: torch.Tensor
    given: torch.Tensor
    true: torch.Tensor

    @property
    def wrong(self) -> torch.Tensor:
        return self.given != self.true


def blobs(n: int = 600, rate: float = 0.2, seed: int = 0, num_classes: int = 4, width: float = 1.0) -> Blobs:
    """n samples, a share `rate` of them with another label, chosen blindly."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(num_classes, 6)) * 2.5
    true = rng.permutation(np.arange(n) % num_classes)
    vectors = centres[true] + width * rng.normal(size=(n, 6))
    wrong = rng.permutation(n) < round(rate * n)
    given = np.where(wrong, (true + rng.integers(1, num_classes, n)) % num_classes, true)
    return Blobs(torch.from_numpy(vectors).float(), torch.from_numpy(given), torch.from_numpy(true))


@pytest.fixture
def make_blobs():
    return blobs


@pytest.fixture
def noisy() -> Blobs:
    return blobs()
