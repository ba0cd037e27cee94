"""The first layer decorrelates patches, is computed from the images, and stays as it is."""

import pytest
import torch

from nlcore import InputError, TrainConfig, corrupt
from nlcore.data.datasets import Dataset
from nlcore.training.networks import build_network
from nlcore.training.state import start
from nlcore.training.whitened import WIDTHS, whitening_filters


@pytest.fixture
def images(rng) -> torch.Tensor:
    """Smooth coloured images (64, 3, 32, 32): neighbouring pixels and channels are much alike."""
    coarse = torch.randn(64, 1, 8, 8, generator=rng) + 0.3 * torch.randn(64, 3, 8, 8, generator=rng)
    return torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")


def patches_one_by_one(images: torch.Tensor) -> torch.Tensor:
    """Every 2 x 2 patch of every image, flat: channels, then rows, then columns."""
    _, _, height, width = images.shape
    found = [images[:, :, y : y + 2, x : x + 2].flatten(1) for y in range(height - 1) for x in range(width - 1)]
    return torch.cat(found)


def test_outputs_on_patches_are_uncorrelated_and_have_variance_one_or_less(images):
    patches = patches_one_by_one(images).double()
    outputs = patches @ whitening_filters(images).flatten(1).double().T
    covariance = outputs.T.cov()
    variances = covariance.diag()
    assert (covariance - variances.diag()).abs().max() < 1e-4
    assert variances.max() == pytest.approx(1, abs=0.01)
    expected = torch.linalg.eigvalsh(patches.T.cov())
    torch.testing.assert_close(variances, expected / (expected + 5e-4), rtol=1e-3, atol=1e-4)


def test_three_blocks_halve_the_resolution_and_the_largest_value_of_each_map_is_kept(images):
    network = build_network("whitened", 3, 7, seed=0).eval()
    with torch.no_grad():
        maps, (logits, features) = network.body(images), network(images)
    assert maps.shape == (64, WIDTHS[-1], 3, 3)
    assert torch.equal(features, maps.flatten(2).max(2).values)
    assert logits.shape == (64, 7)


def test_both_signs_of_each_direction_are_kept(images):
    network = build_network("whitened", 3, 7, seed=0)
    network.whiten(images)
    filters, opposite = network.first.weight.chunk(2)
    assert torch.equal(filters, whitening_filters(images)) and torch.equal(opposite, -filters)


def test_it_is_computed_from_the_training_images_and_not_trained():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(40) % 4
    dataset = Dataset("own", images, labels, images[:8], labels[:8], tuple("abcd"))
    config = TrainConfig(dataset="own", method="ce", network="whitened", epochs=1, batch_size=8, device="cpu")
    config = config.resolved(dataset)
    state = start(config, dataset, corrupt(dataset, config.noise, config.rate, 0))
    weight = state.student.first.weight
    mean, std = dataset.channel_statistics()
    scaled = (images / 255 - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
    torch.testing.assert_close(weight[:12], whitening_filters(scaled), rtol=1e-3, atol=1e-3)
    assert not weight.requires_grad and torch.equal(state.teacher.first.weight, weight)


def test_images_that_three_blocks_would_use_up_are_refused():
    with pytest.raises(InputError, match="16 pixels"):
        build_network("whitened", 3, 2, 0, image_size=15)
    assert build_network("whitened", 3, 2, 0, image_size=16)(torch.zeros(2, 3, 16, 16))[0].shape == (2, 2)
