"""The digest of tensors is that of their bytes, in whatever parts they are read; a file's is of its content."""

import hashlib
import os

import pytest
import torch

from nlcore.basics import digests


def test_it_is_the_digest_of_all_bytes_in_order(rng, monkeypatch):
    numbers, labels = torch.randn(25, 3, generator=rng), torch.arange(7)
    expected = hashlib.sha256(numbers.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    assert digests.content_digest(numbers, labels) == expected
    monkeypatch.setattr(digests, "ROWS_AT_ONCE", 4)
    assert digests.content_digest(numbers, labels) == expected != digests.content_digest(labels, numbers)
    assert digests.content_digest(numbers.T.contiguous().T, labels) == expected  # however it lies in memory


def test_the_digest_of_a_file_is_of_its_content_not_of_its_name_or_time(tmp_path):
    first, copy = tmp_path / "first.bin", tmp_path / "copy.bin"
    first.write_bytes(b"labels")
    copy.write_bytes(b"labels")
    os.utime(copy, (0, 0))
    kept = digests.file_digest(first)
    assert digests.file_digest(copy) == kept and len(kept) == 12
    first.write_bytes(b"lebals")
    os.utime(first, (1, 1))
    assert digests.file_digest(first) != kept


@pytest.mark.parametrize("place", [0, 500, 999])
def test_of_a_large_file_blocks_from_its_first_byte_to_its_last_are_read(tmp_path, monkeypatch, place):
    monkeypatch.setattr(digests, "BLOCK", 10)
    monkeypatch.setattr(digests, "BLOCKS", 5)  # at 0, 247, 495, 742 and 990 of 1,000
    content = bytearray(1000)
    (tmp_path / "a").write_bytes(content)
    content[place] = 1
    (tmp_path / "b").write_bytes(content)
    assert digests.file_digest(tmp_path / "a") != digests.file_digest(tmp_path / "b")
