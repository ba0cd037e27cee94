"""Edges by place and direction, counted one pixel at a time."""

import math

import pytest
import torch

from nlcore.study.edges import edge_vectors


def by_pixel(image: torch.Tensor, cells: int, bins: int) -> torch.Tensor:
    """The same for one image (C, H, W) whose inside can be divided into cells evenly."""
    grey = image.float().mean(0) / 255
    height, width = grey.shape[0] - 2, grey.shape[1] - 2
    sums = torch.zeros(bins, cells, cells)
    for y in range(height):
        for x in range(width):
            dx = float(grey[y + 1, x + 2] - grey[y + 1, x])
            dy = float(grey[y + 2, x + 1] - grey[y, x + 1])
            place = math.atan2(dy, dx) % math.pi * bins / math.pi
            low = int(place) % bins
            part = place - int(place)
            strength = math.hypot(dx, dy)
            sums[low, y * cells // height, x * cells // width] += strength * (1 - part)
            sums[(low + 1) % bins, y * cells // height, x * cells // width] += strength * part
    flat = sums.flatten()
    return flat / flat.norm()


@pytest.mark.parametrize("cells", [1, 2, 4])
def test_equals_a_count_over_pixels(cells):
    generator = torch.Generator().manual_seed(cells)
    images = torch.randint(0, 256, (3, 2, 10, 10), dtype=torch.uint8, generator=generator)
    expected = torch.stack([by_pixel(image, cells, 8) for image in images])
    torch.testing.assert_close(edge_vectors(images, cells), expected, atol=1e-5, rtol=0)


def test_an_upright_edge_is_in_the_first_bin_and_a_plain_picture_has_none():
    upright, plain = torch.zeros(2, 1, 10, 10, dtype=torch.uint8)
    upright[..., 5:] = 255
    found = edge_vectors(torch.stack([upright, plain])).view(2, 8, 16)
    assert found[0, 0].norm() == pytest.approx(1)
    assert not found[1].any()
