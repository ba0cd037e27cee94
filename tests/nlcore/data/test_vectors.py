"""Vectors: what is refused, what is said, statistics against plain loops; and every method trains on them."""

import dataclasses
import logging
import math

import numpy as np
import pytest
import torch

from nlcore import Dataset, InputError, TrainConfig, corrupt, train
from nlcore.data import vectors as module
from nlcore.data.vectors import check_float32, check_vectors, vector_statistics
from nlcore.methods import METHODS
from nlcore.training.state import start
from nlcore.training.steps import Steps, to_input
from nlcore.training.views import vector_views


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


def test_double_precision_that_overflows_single_is_named(monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    rows = torch.zeros(10, 4).double()
    rows[4, 3] = rows[9, 1] = -1e300
    with pytest.raises(InputError, match="hold numbers too large for float32 in columns 1 and 3, first in row 4"):
        dataset(rows)


@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_a_spread_that_float32_loses_is_measured_block_by_block(block, monkeypatch):
    monkeypatch.setattr(module, "VALUES_AT_ONCE", block)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 3)) * [1, 3, 0] + [5, -1.7e9, 1e12]
    sizes = rf"mean -1\.7e\+09 and standard deviation {rows[:, 1].std():.2g}, "
    with pytest.raises(InputError, match=rf"my\.npy: column 1 has {sizes}"):
        check_float32(rows, "my.npy")
    with pytest.raises(InputError, match=r"my\.csv: column width has mean"):
        check_float32(rows, "my.csv", ["length", "width", "depth"])
    check_float32(rows, "my.npy", spread=False)
    check_float32(rows.astype(np.float32), "my.npy")  # there is nothing left to lose
    check_float32(rows[:, [0, 2]], "my.npy")


def test_few_rows_that_lie_apart_from_the_rest_are_not_lost():
    years = np.full((20_000, 1), 2020)
    years[7] = 2021
    check_float32(years, "my.npy")


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


# -- training on vectors


def blobs(n: int = 600, dim: int = 20, dtype: torch.dtype = torch.float32) -> Dataset:
    """Three overlapping clouds, far from the origin and of different scales."""
    generator = torch.Generator().manual_seed(0)
    centres = 1.5 * torch.randn(3, dim, generator=generator)
    scale = torch.logspace(-2, 2, dim)

    def draw(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(size) % 3
        return ((centres[labels] + torch.randn(size, dim, generator=generator) + 3) * scale).to(dtype), labels

    return Dataset("blobs", *draw(n), *draw(300), ("a", "b", "c"))


def config(**changes) -> TrainConfig:
    return TrainConfig(**{"dataset": "blobs", "epochs": 6, "batch_size": 32, "threads": 1, "device": "cpu"} | changes)


@pytest.mark.parametrize("preset", ["tuned", "paper"])
@pytest.mark.parametrize("method", METHODS)
def test_all_methods_learn_from_noisy_vectors(method, preset):
    result = train(config(method=method, preset=preset), blobs())
    assert result.network["name"] == "mlp" and result.config.dataset == "blobs"
    assert result.last > 85 and len(result.samples["given_label"]) == 600


@pytest.mark.parametrize("noise", ["symmetric", "pairflip", "idn_xia", "idn_pmd"])
def test_noise_models_take_vectors(noise):
    noisy = corrupt(blobs(), noise, 0.3, 0, **({"scaling": "normalised"} if noise == "idn_xia" else {}))
    assert 0.15 < noisy.rate < 0.45


def test_pixels_have_a_scaling_that_vectors_have_not():
    with pytest.raises(InputError, match="scaling 'unit' is for pixels"):
        corrupt(blobs(), "idn_xia", 0.3, 0, scaling="unit")


def test_half_precision_is_read_where_it_lies():
    data = blobs(dtype=torch.float16)
    state = start(config().resolved(data), data, corrupt(data, "symmetric", 0.4, 0))
    assert state.images.data_ptr() == data.train_images.data_ptr() and state.images.dtype == torch.float16
    assert to_input(state, state.images[:5]).dtype == torch.float32
    assert train(config(), data).last > 85


def test_inputs_are_standardised_column_by_column():
    data = blobs()
    state = start(config().resolved(data), data, corrupt(data, "symmetric", 0.4, 0))
    inputs = to_input(state, state.images)
    torch.testing.assert_close(inputs.mean(0), torch.zeros(20), atol=1e-4, rtol=0)
    torch.testing.assert_close(inputs.std(0, correction=0), torch.ones(20), atol=1e-4, rtol=0)


def test_a_view_loses_features_and_gains_noise_as_often_as_it_says(rng):
    view = vector_views(torch.ones(2000, 50), 0.3, 0.5, rng)
    assert float((view == 0).double().mean()) == pytest.approx(0.3, abs=0.01)
    kept = view[view != 0]
    assert float(kept.mean()) == pytest.approx(1, abs=0.01) and float(kept.std()) == pytest.approx(0.5, abs=0.01)
    torch.testing.assert_close(vector_views(view, 0, 0, rng), view)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 8), (1000, 77)])
def test_features_are_lost_independently_whatever_the_shape(shape, rng):
    lost = torch.stack([vector_views(torch.ones(shape), 0.25, 0, rng) == 0 for _ in range(400)]).double().flatten(1)
    assert lost.mean(0)[:50].sub(0.25).abs().max() < 0.11  # five standard deviations
    assert float(lost.mean()) == pytest.approx(0.25, abs=5 * 0.44 / lost.numel() ** 0.5)
    if shape[0] > 1:  # the eight that come from one number are as independent as any
        assert lost[:, :8].T.corrcoef().fill_diagonal_(0).abs().max() < 0.3


def test_strong_views_disturb_more_than_weak_ones():
    data = blobs()
    steps = Steps(start(config().resolved(data), data, corrupt(data, "symmetric", 0.4, 0)))
    rows = torch.arange(600)
    plain = to_input(steps.state, steps.state.images)
    weak, strong = ((view - plain).square().mean() for view in (steps.weak(rows), steps.strong(rows)))
    assert 0 < weak < strong


@pytest.mark.parametrize("method", ["tssd", "anchor"])
def test_a_run_that_was_stopped_goes_on_exactly(method, tmp_path, monkeypatch):
    monkeypatch.setattr("nlcore.training.run.KEEP_EVERY", 0.0)

    class Stopped(Exception):
        pass

    def stop(epoch):
        if epoch.row["epoch"] == 4:
            raise Stopped

    whole = train(config(method=method), blobs())
    with pytest.raises(Stopped):
        train(config(method=method), blobs(), stop, tmp_path)
    resumed = train(config(method=method), blobs(), folder=tmp_path)
    assert resumed.samples == whole.samples
    assert [row["train_loss"] for row in resumed.history] == [row["train_loss"] for row in whole.history]


def test_a_linear_network_has_the_vectors_themselves_as_features():
    result = train(config(network="linear", method="dividemix"), blobs())
    assert result.network["parameters"] == 3 * 20 + 3 and result.last > 85


@pytest.mark.parametrize(("network", "data"), [("small", blobs()), ("mlp", None)])
def test_a_network_for_the_other_kind_of_data_is_refused(network, data):
    name = "blobs" if data else "digits"
    with pytest.raises(InputError, match=f"{name} holds (vectors|images); networks for them are .*, not {network}"):
        train(dataclasses.replace(config(network=network), dataset=name), data)
