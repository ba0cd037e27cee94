from collections import Counter

import pytest
import torch
from torchvision.transforms import RandAugment
from torchvision.transforms import functional as tv
from torchvision.transforms.autoaugment import _apply_op

from nlcore.training import randaugment
from nlcore.training.randaugment import (
    GEOMETRIC,
    OPERATIONS,
    SIGNED,
    UNSIGNED,
    random_operations,
    strong_views,
    transforms,
    warp,
)

SIZES = [(32, 32), (24, 36), (36, 24)]


def made(n: int, channels: int = 3, size=(32, 32), seed: int = 0) -> torch.Tensor:
    """Random images without very dark or bright pixels, so that no operation leaves one as it is."""
    g = torch.Generator().manual_seed(seed)
    return torch.randint(40, 200, (n, channels, *size), generator=g, dtype=torch.uint8)


# -- what torchvision's RandAugment does to one image, at its usual magnitude

NAMES = {"shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX", "translate_y": "TranslateY"}
NAMES |= {"saturation": "Color", "autocontrast": "AutoContrast"}


def theirs(image: torch.Tensor, name: str, sign: int, reach: float = 1.0) -> torch.Tensor:
    """torchvision's operation on one image (C, H, W), with bin 9 of 31; `reach` scales the geometric ones."""
    their_name = NAMES.get(name, name.capitalize())
    space = RandAugment()._augmentation_space(31, tuple(image.shape[1:]))
    magnitudes, signed = space[their_name]
    magnitude = float(magnitudes[9]) if magnitudes.ndim else 0.0
    assert signed == (name in (*GEOMETRIC, *SIGNED))
    magnitude *= sign * (reach if name in GEOMETRIC else 1)
    if name.startswith("shear"):  # theirs turns around the corner, ours around the centre
        degrees = torch.tensor(magnitude).atan().rad2deg().item()
        shear = [degrees, 0.0] if name == "shear_x" else [0.0, degrees]
        return tv.affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=shear)
    return _apply_op(image, their_name, magnitude, tv.InterpolationMode.NEAREST, None)


PAIRS = [(name, sign) for name in OPERATIONS for sign in ((1,) if name in UNSIGNED else (1, -1))]
# torchvision has two versions of these, which round a few pixels differently; RandAugment uses the older one.
ROUNDED = ("saturation", "contrast", "sharpness", "autocontrast")


def outcomes(image: torch.Tensor, reach: float = 1.0) -> torch.Tensor:
    """All that one random operation may make of an image, one a pair of `PAIRS`; which sign is which is free."""
    return torch.stack([theirs(image, *pair, reach) for pair in PAIRS])


def drawn(view: torch.Tensor, possible: torch.Tensor) -> tuple[str, int]:
    """Which operation has made a view; of several that make the same, the first."""
    distance = (view.int() - possible.int()).abs().flatten(1)
    nearest = int(distance.sum(1).argmin())
    largest, share = int(distance[nearest].max()), float((distance[nearest] > 0).float().mean())
    assert largest <= 1 and share < 0.05 if PAIRS[nearest][0] in ROUNDED else largest == 0, PAIRS[nearest]
    return PAIRS[nearest]


def drawn_for_all(views: torch.Tensor, images: torch.Tensor, reach: float = 1.0) -> Counter:
    return Counter(drawn(view, outcomes(image, reach)) for view, image in zip(views, images, strict=True))


def test_the_operations_are_those_of_torchvision():
    assert set(RandAugment()._augmentation_space(31, (32, 32))) == {
        NAMES.get(name, name.capitalize()) for name in OPERATIONS
    }


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("reach", [1.0, 0.5])
def test_every_view_is_what_torchvision_makes_of_its_own_image_and_all_shares_are_equal(size, reach, rng):
    images = made(56, 3, size)
    counts = drawn_for_all(random_operations(images, reach, rng), images, reach)
    both_signs = {(name, sign): 2 for name in (*GEOMETRIC, *SIGNED) for sign in (1, -1)}
    assert counts == both_signs | {(name, 1): 4 for name in UNSIGNED}


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_on_grey_images_only_saturation_does_nothing(size, rng):
    images = made(56, 1, size)
    views = random_operations(images, 1.0, rng)
    assert len(drawn_for_all(views, images)) == len(PAIRS) - 2
    assert sum(torch.equal(view, image) for view, image in zip(views, images, strict=True)) == 4 + 4


@pytest.mark.parametrize("n", [1, 3, 27, 28, 29, 61])
def test_every_operation_gets_an_equal_share_whatever_the_batch_size(n, rng, monkeypatch):
    seen = Counter()

    def recorded(table, name, operation):
        def record(images, *sign):
            seen[name, *sign] += len(images)
            return operation(images, *sign)

        monkeypatch.setitem(table, name, record)

    for table in (SIGNED, UNSIGNED):
        for name, operation in list(table.items()):
            recorded(table, name, operation)

    def recorded_warp(images, matrix):
        for one in matrix.unique(dim=0, return_counts=True)[1].tolist():
            seen[len(seen), "geometric"] += one
        return warp(images, matrix)

    monkeypatch.setattr(randaugment, "warp", recorded_warp)
    assert len(random_operations(made(n), 1.0, rng)) == n
    share = -(-n // 28)
    geometric = [count for key, count in seen.items() if key[1:] == ("geometric",)]
    assert geometric == [share] * 10
    assert {key: count for key, count in seen.items() if key[1:] != ("geometric",)} == {
        **{(name, sign): share for name in SIGNED for sign in (1, -1)},
        **{(name,): 2 * share for name in UNSIGNED if name != "identity"},
    }


@pytest.mark.parametrize("n", [1, 5])
def test_an_image_of_a_tiny_batch_gets_every_operation_equally_often(n, rng):
    """Chi-squared of 14 operations, below its 99.9 % quantile for 13 degrees of freedom."""
    image = made(1)[0]
    known, batch = outcomes(image), image.expand(n, -1, -1, -1)
    draws = [random_operations(batch, 1.0, rng)[n // 2] for _ in range(700)]
    counts = Counter(drawn(view, known)[0] for view in draws)
    assert set(counts) == set(OPERATIONS)
    assert sum((count - 50) ** 2 / 50 for count in counts.values()) < 34.5


def test_the_two_operations_of_an_image_are_drawn_independently(rng):
    image = made(1)[0]
    views = strong_views(image.expand(1400, -1, -1, -1), 0, False, rng)
    unchanged = sum(torch.equal(view, image) for view in views)
    assert 1 <= unchanged <= 18  # twice identity: 7 of 1,400 are expected, and the standard deviation is 2.7


# -- the geometry, by hand


def test_a_pixel_from_outside_is_black_and_a_whole_shift_moves_every_pixel():
    image = torch.arange(1, 13, dtype=torch.uint8).view(1, 1, 3, 4)
    shift = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])  # one pixel to the right of the output
    assert warp(image, shift).squeeze().tolist() == [[2, 3, 4, 0], [6, 7, 8, 0], [10, 11, 12, 0]]
    up = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, -1.0]]])
    assert warp(image, up).squeeze().tolist() == [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (20, 12)], ids=str)
def test_warping_looks_up_the_nearest_pixel_of_the_input_in_pixels_around_the_centre(size, rng):
    height, width = size
    images = made(10, 1, size)
    matrix = transforms(torch.zeros(5, 2, 1), images, 1.0)
    views = warp(images, matrix)
    for image, view, m in zip(images[:, 0], views[:, 0], matrix.double(), strict=True):
        for y in range(height):
            for x in range(width):
                dx, dy = x - (width - 1) / 2, y - (height - 1) / 2
                from_x = float(m[0, 0] * dx + m[0, 1] * dy + m[0, 2]) + (width - 1) / 2
                from_y = float(m[1, 0] * dx + m[1, 1] * dy + m[1, 2]) + (height - 1) / 2
                inside = 0 <= round(from_x) < width and 0 <= round(from_y) < height
                assert view[y, x] == (image[round(from_y), round(from_x)] if inside else 0)


def test_half_the_reach_moves_half_as_far():
    images = torch.zeros(1, 1, 64, 64)
    full, half = (transforms(torch.zeros(5, 2, 1), images, reach) for reach in (1.0, 0.5))
    still = torch.eye(2, 3)
    moved, moved_half = full - still, half - still
    for shear in (0, 2):  # rows of x and y, first sign
        torch.testing.assert_close(moved_half[shear], moved[shear] / 2)
    assert (full[4, 0, 2], half[4, 0, 2]) == (int(0.3 * 150 / 331 * 64), int(0.15 * 150 / 331 * 64)) == (8, 4)
    assert torch.rad2deg(torch.asin(full[8, 1, 0])).item() == pytest.approx(9, abs=1e-4)
    assert torch.rad2deg(torch.asin(half[8, 1, 0])).item() == pytest.approx(4.5, abs=1e-4)


# -- strong views


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize(("n", "channels", "size"), [(40, 3, (6, 6)), (1, 1, (8, 8)), (30, 1, (9, 5)), (29, 3, (5, 9))])
def test_strong_views_are_uint8_of_the_same_shape(n, channels, size, flip, rng):
    images = made(n, channels, size)
    views = strong_views(images, 1, flip, rng)
    assert views.dtype == torch.uint8 and views.shape == images.shape


def test_most_strong_views_differ_from_each_other(rng):
    views = strong_views(made(1).expand(60, -1, -1, -1), 1, True, rng)
    assert len(views.unique(dim=0)) > 55


def test_strong_views_of_digits_are_moved_half_as_far(monkeypatch, rng):
    reaches = []
    original = randaugment.transforms
    monkeypatch.setattr(randaugment, "transforms", lambda *a: reaches.append(a[2]) or original(*a))
    for flip in (True, False):
        strong_views(made(3), 1, flip, rng)
    assert reaches == [1.0, 1.0, 0.5, 0.5]


def test_strong_views_still_show_their_image(rng):
    ramp = torch.arange(32).mul(8).to(torch.uint8).expand(60, 1, 32, 32)
    views = strong_views(ramp, 0, False, rng).float().squeeze(1)
    left, right = views[:, :, :12].mean((1, 2)), views[:, :, 20:].mean((1, 2))
    assert (right > left).float().mean() > 0.9


def test_the_generator_alone_decides_and_the_global_state_stays(unchanged_global_state):
    images = made(40)
    with unchanged_global_state():
        first, again, other = (strong_views(images, 1, True, torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_images_themselves_are_not_changed(rng):
    images = made(40)
    before = images.clone()
    strong_views(images, 0, False, rng)
    random_operations(images, 1.0, rng)
    assert torch.equal(images, before)
