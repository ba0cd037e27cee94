"""Vectors: what is refused, what is said, and statistics against plain loops."""

import logging
import math

import pytest
import torch

from nlcore import Dataset, InputError
from nlcore.data import vectors as module
from nlcore.data.vectors import check_vectors, vector_statistics


def dataset(train: torch.Tensor, test: torch.Tensor | None = None) -> Dataset:
    """Two classes by turns."""
    test = train if test is None else test
    return Dataset("rows", train, torch.arange(len(train)) % 2, test, torch.arange(len(test)) % 2, ("even", "odd"))


def test_statistics_equal_those_of_a_loop(rng, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    rows = torch.randn(50, 3, generator=rng) * torch.tensor([1.0, 100.0, 0.01]) + torch.tensor([0.0, 5.0, 1000.0])
    mean, std = vector_statistics(rows, "rows")
    for column in range(3):
        values = rows[:, column].tolist()
        expected = math.fsum(values) / 50
        deviation = math.sqrt(math.fsum((value - expected) ** 2 for value in values) / 50)
        assert float(mean[column]) == pytest.approx(expected, rel=1e-6)
        assert float(std[column]) == pytest.approx(deviation, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_vectors_stay_as_they_came(dtype):
    rows = torch.arange(8).view(4, 2).to(dtype)
    assert dataset(rows).train_images is rows and dataset(rows).holds_vectors


def test_double_precision_becomes_single():
    assert dataset(torch.arange(8.0).view(4, 2).double()).train_images.dtype == torch.float32


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_columns_that_are_not_finite_are_named(bad, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    rows = torch.zeros(10, 4)
    rows[7, 2] = rows[8, 0] = bad
    with pytest.raises(InputError, match="rows train vectors hold NaN or infinity in columns 0 and 2, first in row 7"):
        dataset(rows)


def test_of_many_bad_columns_a_few_are_named():
    with pytest.raises(InputError, match="in columns 0, 1, 2, 3, 4 and 15 more, first in row 0"):
        check_vectors(torch.full((2, 20), torch.nan), "my")


@pytest.mark.parametrize("rows", [torch.zeros(4, 2, dtype=torch.int64), torch.zeros(4, 2, dtype=torch.uint8)])
def test_whole_numbers_are_no_vectors(rows):
    with pytest.raises(InputError, match=r"vectors must be floats of shape \(N, d\), not torch\.\w+ \(4, 2\)"):
        dataset(rows)


def test_a_constant_column_is_named_and_becomes_zero(caplog):
    rows = torch.tensor([[1.0, 1000.3], [3.0, 1000.3], [1.0, 1000.3], [3.0, 1000.3]])
    with caplog.at_level(logging.WARNING):
        mean, std = dataset(rows).channel_statistics()
    assert "rows train vectors: column 1 is the same in every row" in caplog.text
    assert ((rows - mean) / std).tolist() == [[-1, 0], [1, 0], [-1, 0], [1, 0]]


def test_a_subset_of_vectors_is_measured_anew():
    rows = torch.tensor([[0.0], [0.0], [1.0], [1.0], [9.0], [9.0]])
    assert float(dataset(rows).rows(torch.tensor([0, 1, 2, 3])).channel_statistics()[0]) == 0.5
