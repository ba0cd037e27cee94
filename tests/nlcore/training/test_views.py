import pytest
import torch
import torch.nn.functional as F

from nlcore.training.views import normalise, weak_views


@pytest.fixture
def images(rng):
    return torch.randint(1, 256, (40, 3, 6, 6), generator=rng, dtype=torch.uint8)


def possible_crops(image: torch.Tensor, pad: int) -> list[torch.Tensor]:
    _, h, w = image.shape
    padded = F.pad(image, (pad,) * 4)
    return [padded[:, y : y + h, x : x + w] for y in range(2 * pad + 1) for x in range(2 * pad + 1)]


def is_one_of(view: torch.Tensor, candidates: list[torch.Tensor]) -> bool:
    return any(torch.equal(view, candidate) for candidate in candidates)


@pytest.mark.parametrize("pad", [0, 1, 2])
def test_a_weak_view_is_one_of_the_crops_of_its_own_image(images, rng, pad):
    views = weak_views(images, pad, False, rng)
    assert views.dtype == torch.uint8 and views.shape == images.shape
    assert all(is_one_of(view, possible_crops(image, pad)) for view, image in zip(views, images, strict=True))


def test_with_flip_about_half_of_the_views_are_mirrored_crops(images, rng):
    views = weak_views(images, 1, True, rng)
    mirrored = 0
    for view, image in zip(views, images, strict=True):
        straight = is_one_of(view, possible_crops(image, 1))
        mirrored += not straight
        assert straight or is_one_of(view.flip(2), possible_crops(image, 1))
    assert 8 <= mirrored <= 32


def test_every_crop_of_an_image_occurs(images, rng):
    same = images[:1].expand(400, -1, -1, -1)
    seen = {bytes(view.contiguous().numpy()) for view in weak_views(same, 1, False, rng)}
    assert len(seen) == 9


def test_the_same_generator_state_gives_the_same_views_and_the_global_state_stays(images, unchanged_global_state):
    with unchanged_global_state():
        first, again, other = (weak_views(images, 1, True, torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_images_themselves_are_not_changed(images, rng):
    before = images.clone()
    weak_views(images, 1, True, rng)
    assert torch.equal(images, before)


def test_normalised_training_images_have_mean_zero_and_deviation_one_per_channel(images):
    pixels = images.double() / 255
    mean, std = pixels.mean((0, 2, 3)).float(), pixels.std((0, 2, 3), correction=0).float()
    result = normalise(images, mean, std)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(result.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)
