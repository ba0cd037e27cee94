"""The digest of tensors is that of their bytes, in whatever parts they are read."""

import hashlib

import torch

from nlcore.basics import digests


def test_it_is_the_digest_of_all_bytes_in_order(rng, monkeypatch):
    numbers, labels = torch.randn(25, 3, generator=rng), torch.arange(7)
    expected = hashlib.sha256(numbers.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    assert digests.content_digest(numbers, labels) == expected
    monkeypatch.setattr(digests, "ROWS_AT_ONCE", 4)
    assert digests.content_digest(numbers, labels) == expected != digests.content_digest(labels, numbers)
    assert digests.content_digest(numbers.T.contiguous().T, labels) == expected  # however it lies in memory
