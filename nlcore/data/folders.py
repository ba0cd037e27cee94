"""Datasets in folders of image files, decoded once into arrays that stay on disk.

What lies where is in `nlcore.data.layouts`; all the rest is the same for all datasets. The decoded images are a memory
map, so that a million of them need neither a million files per epoch nor the memory.
"""

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from nlcore.basics.errors import InputError, choose, first_line
from nlcore.basics.files import user_path
from nlcore.basics.progress import beat, steps
from nlcore.data.layouts import FOLDER_DATASETS, Listing

CHUNK = 256  # images that are decoded, and so held in memory, at once


class Decoded(NamedTuple):
    """A dataset whose images are memory maps: changing them changes the tensor, never the file."""

    train_images: torch.Tensor  # (N, 3, S, S) uint8
    train_labels: torch.Tensor  # (N,) int64 in [0, K), as they were given: often noisy
    test_images: torch.Tensor
    test_labels: torch.Tensor
    class_names: tuple[str, ...]  # K
    statistics: tuple[torch.Tensor, torch.Tensor]  # mean, std per channel of training images in [0, 1], (3,) float each


def load_folder_dataset(name: str, root: Path, image_size: int | None = None) -> Decoded:
    """Load a dataset of image files; decode it first if `root` has no decoded copy, `<name>_<image_size>px`, yet.

    A decoded copy is used as it is: the image files are not needed any more, and it may be taken to another machine.
    In decoding, an image is turned upright, what is transparent becomes white, its shorter side is resized to
    `image_size` pixels (None = the usual size of the dataset) and its centre square is kept.

    Raises
    ------
    InputError : an unknown name or impossible size, a source folder that is absent or not laid out as expected, an
        image that is missing or broken, too little room on disk, a damaged decoded copy.
    """
    choose("folder dataset", name, FOLDER_DATASETS)
    dataset = FOLDER_DATASETS[name]
    size = dataset.image_size if image_size is None else image_size
    if size < 1:
        raise InputError(f"image size must be at least 1 pixel, not {size}")
    root = user_path(root)
    folder = root / f"{name}_{size}px"
    if not folder.exists():
        source = next((root / f for f in dataset.folders if (root / f).is_dir()), None)
        if source is None:
            wanted = f"folder {' or '.join(dataset.folders)} with {dataset.contents}"
            raise InputError(f"{name} cannot be downloaded automatically, and there is no {wanted} in {root}")
        listing = dataset.list_images(source)
        _check_every_class_has_images(listing, source)
        return decoded(listing, folder, size)
    return _read_decoded(folder, size)


def _check_every_class_has_images(listing: Listing, source: Path) -> None:
    # Asked before decoding: a decoded copy that no training can use would have to be deleted by hand.
    present = {label for _, label in listing.train}
    for number, name in enumerate(listing.class_names):
        if number not in present:
            raise InputError(f"no training image found of class {name!r} in {source}")
    if not listing.test:
        raise InputError(f"no test image found in {source}")


# Decoding, and reading what was decoded.


def decoded(listing: Listing, folder: Path, size: int) -> Decoded:
    """The images of a listing from their decoded copy in `folder`, which is made if it is not there."""
    if not folder.exists():
        _decode(listing, folder, size)
    return _read_decoded(folder, size)


def _decode(listing: Listing, folder: Path, size: int) -> None:
    """Decode all images into `folder`, which appears whole or not at all."""
    needed = (len(listing.train) + len(listing.test)) * 3 * size**2
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} could not be written ({first_line(error)})") from error
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise InputError(f"{folder} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; a smaller image size?")
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}_unfinished_") as unfinished:
            made = Path(unfinished) / folder.name
            made.mkdir()
            mean, std = _channel_statistics(_write_images(made / "train_images.npy", listing.train, size))
            _write_images(made / "test_images.npy", listing.test, size)
            train, test = (np.array([label for _, label in images]) for images in (listing.train, listing.test))
            names = np.array(listing.class_names)
            np.savez(made / "labels.npz", train_labels=train, test_labels=test, class_names=names, mean=mean, std=std)
            os.replace(made, folder)
    except OSError as error:
        if not folder.exists():  # if it does, another process has just decoded the same
            raise InputError(f"{folder} could not be written ({first_line(error)})") from error


def _write_images(path: Path, images: list[tuple[str, int]], size: int) -> np.ndarray:
    """Write images as one (N, 3, size, size) uint8 array; return how often each grey value occurs, (3, 256) int64."""
    counts = np.zeros(3 * 256, dtype=np.int64)
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(images), 3, size, size)}
    # Written from front to back: the pages of a writable memory map would stay in memory.
    with open(path, "wb") as out, ThreadPoolExecutor() as pool:
        np.lib.format.write_array_header_1_0(out, header)
        with steps(len(images), f"decoding {path.stem}", "images") as advance:
            for start in range(0, len(images), CHUNK):
                files = [file for file, _ in images[start : start + CHUNK]]
                for pixels, histogram in pool.map(_decode_image, files, [size] * len(files)):
                    out.write(pixels)
                    counts += histogram
                advance(start + len(files))
                beat()
    return counts.reshape(3, 256)


def _decode_image(path: str, size: int) -> tuple[bytes, list[int]]:
    """The bytes of a (3, size, size) uint8 image, and how often each grey value occurs in it, 3 x 256 counts."""
    from PIL import Image

    # A broken image shows itself in many ways, depending on its format: one line for all.
    try:
        with Image.open(path) as file:
            image = _as_seen(file)
    except Exception as error:
        raise InputError(f"image {path} is missing or broken ({first_line(error)})") from error
    short = min(image.size)
    width, height = (side * size // short for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(image).transpose(2, 0, 1).tobytes(), image.histogram()


def _as_seen(image):
    """A PIL image in RGB as a viewer shows it to whoever labels it: upright, and on white where it is transparent."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel, which PIL cuts off at 255
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("more than 16 bits a pixel; save it with 8 bits a pixel")
        image = Image.fromarray((grey / 257).round().astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save it with 8 bits a pixel")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _channel_statistics(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of grey values in [0, 1] from their counts (3, 256): two (3,) float32, exact."""
    grey = np.arange(256) / 255
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ grey
    variance = share @ grey**2 - mean**2
    return mean.astype(np.float32), np.sqrt(variance.clip(min=1e-12)).astype(np.float32)


def _read_decoded(folder: Path, size: int) -> Decoded:
    # Damage shows itself in many ways (short file, bad zip, missing array, wrong shape): one line for all.
    try:
        with np.load(folder / "labels.npz", allow_pickle=False) as archive:
            kept = {key: archive[key] for key in ("train_labels", "test_labels", "class_names", "mean", "std")}
        for split in ("train", "test"):
            # Copy on write: torch takes no read-only array without a warning, and the file stays as it is.
            images = np.load(folder / f"{split}_images.npy", mmap_mode="c", allow_pickle=False)
            if images.dtype != np.uint8 or images.shape != (len(kept[f"{split}_labels"]), 3, size, size):
                raise ValueError(f"{split} images are {images.dtype} {images.shape}")
            kept[f"{split}_images"] = images
        names = tuple(kept.pop("class_names").tolist())
        kept = {key: torch.from_numpy(array) for key, array in kept.items()}
    except Exception as error:
        raise InputError(f"{folder} is damaged ({first_line(error)}); delete it to decode again") from error
    return Decoded(class_names=names, statistics=(kept.pop("mean"), kept.pop("std")), **kept)
