"""Say in one line what a grid needs and this machine lacks: images of CIFAR, label files, a GPU.

    python -m benchmark.ready benchmark/gpu.yml

For machines that can fetch nothing: a sweep there would try to download the images, cell by cell, until its time is up.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from nlcore.basics.errors import InputError
from nlcore.data.datasets import data_root
from nlcore.noise.corrupt import label_file
from nlcore.results.grids import read_grid
from nlcore.training import distributed
from nlcore.training.config import TrainConfig

IMAGES = {"cifar10": "cifar10.npz", "cifar100": "cifar100.npz", "cifar100_coarse": "cifar100.npz"}


def lacking(cells: Iterable[TrainConfig]) -> list[str]:
    """What is not there, in words, each once, in the order of the cells."""
    found = []
    for config in cells:
        images = IMAGES.get(config.dataset)
        if images and not (data_root() / images).exists():
            found.append(f"{images} is not in {data_root()}")
        for look in (
            lambda c: label_file(c.noise, c.dataset, c.noise_options),
            lambda c: distributed.device(c.device),
        ):
            try:
                look(config)
            except InputError as error:
                found.append(str(error))
    return list(dict.fromkeys(found))


def main(grid: str) -> None:
    """Exit with that line, or in silence."""
    try:
        missing = lacking(read_grid(Path(grid)).values())
    except InputError as error:
        missing = [str(error)]
    if missing:
        sys.exit(f"error: {'; '.join(missing)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
