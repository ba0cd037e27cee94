"""Small made data for the tests of nlcore, and a guard around the global random states."""

import random
from contextlib import contextmanager
from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest
import sklearn.metrics  # noqa: F401 - its first import draws from python's `random`, whoever does it
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nlcore import Dataset
from nlcore.selection.division import Snapshot

torch.set_num_threads(1)
hypothesis.settings.register_profile("nlcore", deadline=None, derandomize=True, database=None, max_examples=25)
hypothesis.settings.load_profile("nlcore")


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory):
    """A data folder of the tests' own, so that none of them reads or fills the user's."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLCORE_DATA", str(folder))
        yield folder


def _same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b or (a != a and b != b)


@pytest.fixture(scope="session")
def same():
    """`same(a, b)`: nested values, a run's state for example, are equal bit for bit; NaN equals NaN."""
    return _same


@pytest.fixture(scope="session")
def make_dataset():
    """`make_dataset(n, k, seed, name)`: n random 4 x 4 grey training images of k classes in equal shares."""

    def make(n: int = 200, k: int = 10, seed: int = 0, name: str = "made") -> Dataset:
        g = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (n + 2 * k, 1, 4, 4), generator=g, dtype=torch.uint8)
        labels = (torch.arange(n) % k)[torch.randperm(n, generator=g)]
        names = tuple(f"class {c}" for c in range(k))
        return Dataset(name, images[:n], labels, images[n:], torch.arange(2 * k) % k, names)

    return make


@pytest.fixture(scope="session")
def make_snapshot():
    """`make_snapshot(n, k, rate, seed)`: what a good network sees: features near their TRUE class, labels often wrong.

    `blur` spreads the features; `doubt` disturbs the logits, so that losses tell less than features. Extra heads see
    what the network sees. Gives snapshot, given, true, classify, generator.
    """

    def make(n: int = 800, k: int = 4, rate: float = 0.3, seed: int = 0, blur: float = 0.35, doubt: float = 0.0):
        g = torch.Generator().manual_seed(seed)
        true = torch.arange(n) % k
        wrong = torch.rand(n, generator=g) < rate
        given = torch.where(wrong, (true + torch.randint(1, k, (n,), generator=g)) % k, true)
        prototypes = torch.eye(k).repeat(1, 4) * 2
        features = (prototypes[true] + blur * torch.randn(n, 4 * k, generator=g)).clamp(min=0)

        def classify(x: torch.Tensor) -> torch.Tensor:
            return x @ prototypes.T / 2

        logits = classify(features) + doubt * torch.randn(n, k, generator=g)
        heads = {"side": features, "first": logits, "second": logits}
        snapshot = Snapshot(logits, features, F.cross_entropy(logits, given, reduction="none"), heads=heads)
        return SimpleNamespace(snapshot=snapshot, given=given, true=true, classify=classify, generator=g)

    return make


@pytest.fixture
def rng():
    """A generator of the test's own."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def unchanged_global_state():
    """A context that fails if the block moves the global random state of torch, numpy or python."""

    @contextmanager
    def guard():
        before = torch.get_rng_state(), np.random.get_state(), random.getstate()
        yield
        assert torch.equal(torch.get_rng_state(), before[0])
        assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), before[1], strict=True))
        assert random.getstate() == before[2]

    return guard


class _LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation inside the block makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.fixture(scope="session")
def largest_tensor():
    """`with largest_tensor() as made: ...; made.numel` is the size of the largest tensor made in the block."""
    return _LargestTensor
