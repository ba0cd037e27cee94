"""How datasets lie in folders: one function a dataset lists its images with their labels, before any is opened."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from nlcore.basics.errors import InputError, first_line

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
WEBVISION_MINI_CLASSES = 50
ANIMAL10N_CLASSES = tuple("cat,lynx,wolf,coyote,cheetah,jaguar,chimpanzee,orangutan,hamster,guinea pig".split(","))


class Listing(NamedTuple):
    """What a layout tells before any image is opened: (image file, label) pairs in order, and K class names."""

    train: list[tuple[str, int]]
    test: list[tuple[str, int]]
    class_names: tuple[str, ...]


class FolderDataset(NamedTuple):
    """How one dataset lies in its source folder."""

    list_images: Callable[[Path], Listing]
    image_size: int  # usual side in pixels
    folders: tuple[str, ...]  # names that the source folder goes by
    contents: str  # what it holds, for the message that it is absent


def _list_tiny_imagenet(source: Path) -> Listing:
    # In sorted order, not that of the file: torchvision's numbers, by which pair flip tells a class's neighbour.
    wnids = sorted(wnid for _, (wnid,) in _rows(source / "wnids.txt", "wnid"))
    words = {wnid: names.split(",")[0] for _, (wnid, names) in _rows(source / "words.txt", "wnid names")}
    numbers = _numbers(wnids)
    train = [(path, k) for wnid, k in numbers.items() for path in _files(source / "train" / wnid / "images")]
    test = [
        (f"{source}/val/images/{file}", _label(wnid, numbers, place))
        for place, (file, wnid, _) in _rows(source / "val" / "val_annotations.txt", "image wnid box")
    ]
    return Listing(train, test, tuple(words.get(wnid, wnid) for wnid in wnids))


def _list_clothing1m(source: Path) -> Listing:
    # The clean training and validation images are left out, because the benchmark does not use them.
    lists = source / "annotations" if (source / "annotations").is_dir() else source
    names = tuple(name for _, (name,) in _rows(lists / "category_names_eng.txt", "name"))
    numbers = _numbers(range(len(names)))

    def labelled(keys: str, label_file: Path) -> list[tuple[str, int]]:
        labels = {key: _label(label, numbers, place) for place, (key, label) in _rows(label_file, "key label")}
        images = []
        for place, (key,) in _rows(lists / keys, "key"):
            if key not in labels:
                raise InputError(f"{place}: {key} has no label in {label_file}")
            images.append((f"{source}/{key}", labels[key]))
        return images

    train = labelled("noisy_train_key_list.txt", lists / "noisy_label_kv.txt")
    test = labelled("clean_test_key_list.txt", lists / "clean_label_kv.txt")
    return Listing(train, test, names)


def _list_animal10n(source: Path) -> Listing:
    numbers = _numbers(range(len(ANIMAL10N_CLASSES)))

    def labelled(folder: str) -> list[tuple[str, int]]:
        paths = _files(source / folder)
        return [(path, _label(os.path.basename(path).partition("_")[0], numbers, path)) for path in paths]

    return Listing(labelled("training"), labelled("testing"), ANIMAL10N_CLASSES)


def _list_food101n(source: Path) -> Listing:
    # Its clean test set is that of another dataset, Food-101, which lies beside it.
    clean = source.parent / "food-101"
    names = tuple(name for _, (name,) in _rows(source / "meta" / "classes.txt", "name") if name != "class_name")
    numbers = _numbers(names)
    train = [
        (f"{source}/images/{name}/{file}", _label(name, numbers, place))
        for place, (name, file) in _rows(source / "meta" / "imagelist.tsv", "class/image", "/", header=1)
    ]
    test = [
        (f"{clean}/images/{name}/{file}.jpg", _label(name, numbers, place))
        for place, (name, file) in _rows(clean / "meta" / "test.txt", "class/image", "/")
    ]
    return Listing(train, test, names)


def _list_webvision_mini(source: Path) -> Listing:
    names = [names.split(",")[0] for _, (_, names) in _rows(source / "info" / "synsets.txt", "wnid names")]
    numbers = _numbers(range(len(names)))

    def labelled(file_list: str, folder: Path) -> list[tuple[str, int]]:
        rows = _rows(source / "info" / file_list, "image label")
        images = [(f"{folder}/{file}", _label(label, numbers, place)) for place, (file, label) in rows]
        return [(path, label) for path, label in images if label < WEBVISION_MINI_CLASSES]

    train = labelled("train_filelist_google.txt", source)
    test = labelled("val_filelist.txt", source / "val_images_256")
    return Listing(train, test, tuple(names[:WEBVISION_MINI_CLASSES]))


FOLDER_DATASETS = {
    "tiny_imagenet": FolderDataset(
        _list_tiny_imagenet, 64, ("tiny-imagenet-200",), "wnids.txt, words.txt, train/<wnid>/images/ and val/"
    ),
    "clothing1m": FolderDataset(
        _list_clothing1m, 256, ("clothing1M", "clothing1m", "Clothing1M"), "images/ and the lists of keys and labels"
    ),
    "animal10n": FolderDataset(
        _list_animal10n, 64, ("animal10n", "Animal-10N", "raw_image_ver"), "training/ and testing/ of <label>_*.jpg"
    ),
    "food101n": FolderDataset(
        _list_food101n, 256, ("Food-101N_release",), "meta/ and images/ (and food-101 with the same beside it)"
    ),
    "webvision_mini": FolderDataset(
        _list_webvision_mini, 256, ("webvision", "WebVision"), "info/, google/ and val_images_256/"
    ),
}


def _rows(path: Path, layout: str, separator: str | None = None, header: int = 0) -> Iterator[tuple[str, list[str]]]:
    """Yield the place of each line of a list file, for error messages, and its fields: as many as `layout` has.

    The last field takes the rest of the line. The first `header` lines and blank lines at the end are left out.
    """
    try:
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"list file {path} is missing or unreadable ({first_line(error)})") from error
    splits = len(layout.split(separator)) - 1
    for number, line in enumerate(lines[header:], header + 1):
        fields = line.strip().split(separator, splits)
        if len(fields) != splits + 1 or not all(fields):
            raise InputError(f"{path}, line {number}: expected '{layout}', found {line!r}")
        yield f"{path}, line {number}", fields


def _files(folder: Path) -> list[str]:
    """Image files in a folder, sorted by name; hidden ones, such as macOS's `._cat.jpg`, are none."""
    return sorted(str(path) for path in folder.glob("[!.]*") if path.suffix.lower() in IMAGE_SUFFIXES)


def _numbers(labels) -> dict[str, int]:
    """The class number of each label, as text."""
    return {str(label): number for number, label in enumerate(labels)}


def _label(text: str, numbers: dict[str, int], place: str) -> int:
    if text not in numbers:
        raise InputError(f"{place}: label {text!r} is none of the {len(numbers)} classes")
    return numbers[text]
