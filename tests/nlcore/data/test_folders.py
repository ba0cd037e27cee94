"""Small folders in the layout of each dataset; PNG content under a JPEG's name where exact pixels matter."""

import io
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from nlcore import InputError
from nlcore.data import folders
from nlcore.data.folders import load_folder_dataset
from nlcore.data.layouts import ANIMAL10N_CLASSES, FOLDER_DATASETS

WIDTH, HEIGHT = 10, 14  # of the images made here
STREAMED = 2_000, 20_000  # images of the small and of the large folder whose memory is compared
FEW_BYTES = 40e6


def made_pixels(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_image(path: Path, pixels: np.ndarray, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format=kind)
    return path


def write_lines(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def replace_line(path: Path, number: int, line: str) -> None:
    """Put another text in line `number`, counted from one."""
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    write_lines(path, *lines)


def pixels_of(seed: int, size: int) -> torch.Tensor:
    """What a made image must become: shorter side to `size`, then the centre."""
    image = Image.fromarray(made_pixels(seed)).resize((size, HEIGHT * size // WIDTH), Image.Resampling.BILINEAR)
    top = (image.height - size) // 2
    return torch.from_numpy(np.array(image)[top : top + size].transpose(2, 0, 1))


def write_tiny_imagenet(root: Path) -> Path:
    """Two classes that wnids.txt lists in the other order; images 0..3 to train, 4 and 5 to test."""
    source = root / "tiny-imagenet-200"
    write_lines(source / "wnids.txt", "n02", "n01")
    write_lines(source / "words.txt", "n00\tentity", "n02\tgoldfish, Carassius auratus", "n03\tthing, object")
    for wnid, image, seed in (("n02", "n02_0", 2), ("n02", "n02_1", 3), ("n01", "n01_5", 1), ("n01", "n01_10", 0)):
        write_image(source / "train" / wnid / "images" / f"{image}.JPEG", made_pixels(seed))
    write_image(source / "val" / "images" / "val_0.JPEG", made_pixels(4))
    write_image(source / "val" / "images" / "val_1.JPEG", made_pixels(5))
    write_lines(source / "val" / "val_annotations.txt", "val_0.JPEG\tn02\t0\t32\t44\t62", "val_1.JPEG\tn01\t1\t2\t3\t4")
    return source


def write_clothing1m(root: Path, lists: str = ".") -> Path:
    """Three classes; noisy labels disagree with clean ones, and clean training images are there to be left out."""
    source = root / "clothing1M"
    keys = [f"images/{seed}/{seed}0/{seed},a.jpg" for seed in range(6)]
    for seed, key in enumerate(keys):
        write_image(source / key, made_pixels(seed))
    lists = source / lists
    write_lines(lists / "category_names_eng.txt", "T-Shirt", "Down Coat", "Vest")
    write_lines(lists / "noisy_train_key_list.txt", keys[2], keys[0], keys[1])
    write_lines(
        lists / "noisy_label_kv.txt", *(f"{key} {label}" for key, label in zip(keys, (0, 1, 2, 2), strict=False))
    )
    write_lines(lists / "clean_train_key_list.txt", keys[5])
    write_lines(lists / "clean_test_key_list.txt", keys[4], keys[0])
    write_lines(lists / "clean_label_kv.txt", f"{keys[0]} 2", f"{keys[4]} 1", f"{keys[5]} 0")
    return source


def write_animal10n(root: Path, folder: str = "animal10n") -> Path:
    """Ten classes; training images 0..9 are of their own class, image 10 of class 3; images 11 and 12 test."""
    source = root / folder
    for label in range(10):
        write_image(source / "training" / f"{label}_50{label}.jpg", made_pixels(label))
    write_image(source / "training" / "3_1.jpg", made_pixels(10))
    write_image(source / "testing" / "7_b_1.jpg", made_pixels(11))
    write_image(source / "testing" / "2_a.jpg", made_pixels(12))
    return source


def write_food101n(root: Path, header: str = "class_name") -> Path:
    source, clean = root / "Food-101N_release", root / "food-101"
    write_lines(source / "meta" / "classes.txt", *([header] if header else []), "waffles", "apple_pie")
    write_lines(source / "meta" / "imagelist.tsv", "class_name/key", "apple_pie/aa.jpg", "waffles/bb.jpg")
    write_image(source / "images" / "apple_pie" / "aa.jpg", made_pixels(0))
    write_image(source / "images" / "waffles" / "bb.jpg", made_pixels(1))
    write_lines(clean / "meta" / "test.txt", "waffles/17", "apple_pie/4")
    write_image(clean / "images" / "waffles" / "17.jpg", made_pixels(2))
    write_image(clean / "images" / "apple_pie" / "4.jpg", made_pixels(3))
    return source


def write_webvision_mini(root: Path) -> Path:
    """Sixty classes, of which fifty count; the last training and the first test image are of the others."""
    source = root / "webvision"
    write_lines(source / "info" / "synsets.txt", *(f"n{k:08} class {k}, or so" for k in range(60)))
    rows = [(f"google/q{k:04}/x.jpg", k) for k in reversed(range(51))]
    write_lines(source / "info" / "train_filelist_google.txt", *(f"{file} {label}" for file, label in rows))
    for file, label in rows:
        if label < 50:
            write_image(source / file, made_pixels(label))
    write_lines(source / "info" / "val_filelist.txt", "val000001.jpg 59", "val000002.jpg 49", "val000003.jpg 0")
    write_image(source / "val_images_256" / "val000002.jpg", made_pixels(60))
    write_image(source / "val_images_256" / "val000003.jpg", made_pixels(61))
    return source


WRITERS = {
    "tiny_imagenet": write_tiny_imagenet,
    "clothing1m": write_clothing1m,
    "animal10n": write_animal10n,
    "food101n": write_food101n,
    "webvision_mini": write_webvision_mini,
}
Expected = namedtuple("Expected", "train_seeds train_labels test_seeds test_labels")
EXPECTED = {
    "tiny_imagenet": Expected([0, 1, 2, 3], [0, 0, 1, 1], [4, 5], [1, 0]),
    "clothing1m": Expected([2, 0, 1], [2, 0, 1], [4, 0], [1, 2]),
    "animal10n": Expected([0, 1, 2, 10, *range(3, 10)], [0, 1, 2, 3, *range(3, 10)], [12, 11], [2, 7]),
    "food101n": Expected([0, 1], [1, 0], [2, 3], [0, 1]),
    "webvision_mini": Expected([*reversed(range(50))], [*reversed(range(50))], [60, 61], [49, 0]),
}


def load_error(name: str, root: Path, image_size: int | None = 8) -> str:
    with pytest.raises(InputError) as error:
        load_folder_dataset(name, root, image_size)
    assert "\n" not in str(error.value)
    return str(error.value)


def file_contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What each layout tells.


def test_every_dataset_has_a_layout_here():
    assert list(FOLDER_DATASETS) == list(WRITERS)


@pytest.mark.parametrize("name", WRITERS)
def test_labels_stand_in_the_order_of_the_lists(name, tmp_path):
    WRITERS[name](tmp_path)
    decoded = load_folder_dataset(name, tmp_path, 8)
    assert decoded.train_labels.tolist() == EXPECTED[name].train_labels
    assert decoded.test_labels.tolist() == EXPECTED[name].test_labels
    assert decoded.train_labels.dtype == decoded.test_labels.dtype == torch.int64


@pytest.mark.parametrize("name", WRITERS)
def test_every_label_has_the_pixels_of_its_own_image(name, tmp_path):
    WRITERS[name](tmp_path)
    decoded = load_folder_dataset(name, tmp_path, 8)
    for images, seeds in (
        (decoded.train_images, EXPECTED[name].train_seeds),
        (decoded.test_images, EXPECTED[name].test_seeds),
    ):
        assert images.dtype == torch.uint8
        assert torch.equal(images, torch.stack([pixels_of(seed, 8) for seed in seeds]))


@pytest.mark.parametrize("name", WRITERS)
def test_blank_lines_at_the_end_of_lists_are_no_lines(name, tmp_path):
    for file in file_contents(WRITERS[name](tmp_path)):
        if file.suffix in (".txt", ".tsv"):
            file.write_text(file.read_text() + "\n  \n")
    assert load_folder_dataset(name, tmp_path, 8).train_labels.tolist() == EXPECTED[name].train_labels


def test_tiny_imagenet_takes_the_first_name_of_words_and_else_the_wnid(tmp_path):
    write_tiny_imagenet(tmp_path)
    assert load_folder_dataset("tiny_imagenet", tmp_path).class_names == ("n01", "goldfish")


def test_clothing1m_lists_may_lie_in_annotations(tmp_path):
    write_clothing1m(tmp_path, "annotations")
    decoded = load_folder_dataset("clothing1m", tmp_path, 8)
    assert decoded.train_labels.tolist() == [2, 0, 1] and decoded.class_names == ("T-Shirt", "Down Coat", "Vest")


@pytest.mark.parametrize("folder", FOLDER_DATASETS["animal10n"].folders)
def test_a_source_folder_is_found_by_each_of_its_names(folder, tmp_path):
    write_animal10n(tmp_path, folder)
    assert load_folder_dataset("animal10n", tmp_path, 8).class_names == ANIMAL10N_CLASSES


def test_the_ten_animals_are_ten():
    assert len(ANIMAL10N_CLASSES) == 10 and ANIMAL10N_CLASSES[9] == "guinea pig"


@pytest.mark.parametrize("header", ["class_name", ""])
def test_food101n_class_names_need_no_header(header, tmp_path):
    write_food101n(tmp_path, header)
    assert load_folder_dataset("food101n", tmp_path, 8).class_names == ("waffles", "apple_pie")


def test_webvision_mini_is_the_first_fifty_classes_only(tmp_path):
    write_webvision_mini(tmp_path)
    names = load_folder_dataset("webvision_mini", tmp_path, 8).class_names
    assert names == tuple(f"class {k}" for k in range(50))


@pytest.mark.parametrize(
    "name, size",
    [("tiny_imagenet", 64), ("clothing1m", 256), ("animal10n", 64), ("food101n", 256), ("webvision_mini", 256)],
)
def test_without_a_size_images_have_the_usual_one_of_the_dataset(name, size, tmp_path):
    WRITERS[name](tmp_path)
    assert load_folder_dataset(name, tmp_path).test_images.shape == (2, 3, size, size)
    assert (tmp_path / f"{name}_{size}px").is_dir()


# What an image becomes.


def first_image(root: Path, size: int, write) -> torch.Tensor:
    """Class 0 of an Animal-10N whose first image is written by `write(path)`."""
    write(write_animal10n(root) / "training" / "0_500.jpg")
    return load_folder_dataset("animal10n", root, size).train_images[0]


def test_an_image_of_the_right_size_is_left_alone(tmp_path):
    pixels = made_pixels(99, 9, 9)
    image = first_image(tmp_path, 9, lambda path: write_image(path, pixels))
    assert torch.equal(image, torch.from_numpy(pixels.transpose(2, 0, 1).copy()))


def test_a_wide_image_loses_its_left_and_right(tmp_path):
    pixels = made_pixels(99, 13, 8)
    image = first_image(tmp_path, 8, lambda path: write_image(path, pixels))
    assert torch.equal(image, torch.from_numpy(pixels[:, 2:10].transpose(2, 0, 1).copy()))


def test_a_grey_image_has_three_equal_channels(tmp_path):
    pixels = made_pixels(99, 8, 8)[:, :, 0]
    image = first_image(tmp_path, 8, lambda path: write_image(path, pixels))
    assert torch.equal(image, torch.from_numpy(pixels).expand(3, 8, 8))


def test_an_image_with_transparency_keeps_its_colours_where_it_is_opaque(tmp_path):
    opaque = np.where(np.arange(64).reshape(8, 8, 1) % 2, 255, 0).astype(np.uint8)
    pixels = np.concatenate([made_pixels(99, 8, 8), opaque], axis=2)
    image = first_image(tmp_path, 8, lambda path: write_image(path, pixels))
    expected = np.where(opaque, pixels[:, :, :3], 255)
    assert torch.equal(image, torch.from_numpy(expected.astype(np.uint8).transpose(2, 0, 1).copy()))


def test_a_jpeg_has_the_pixels_that_pil_reads(tmp_path):
    image = first_image(tmp_path, 8, lambda path: write_image(path, made_pixels(99, 8, 8), "JPEG"))
    read = np.array(Image.open(tmp_path / "animal10n" / "training" / "0_500.jpg"))
    assert torch.equal(image, torch.from_numpy(read.transpose(2, 0, 1).copy()))


def test_statistics_are_mean_and_population_deviation_of_the_training_images(tmp_path):
    write_animal10n(tmp_path)
    decoded = load_folder_dataset("animal10n", tmp_path, 8)
    mean, std = decoded.statistics
    channels = decoded.train_images.double().div(255).transpose(0, 1).flatten(1)
    assert mean.dtype == std.dtype == torch.float32
    torch.testing.assert_close(mean, channels.mean(1).float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(std, channels.std(1, correction=0).float(), rtol=1e-6, atol=0)


def test_more_images_than_a_chunk_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "CHUNK", 4)
    write_animal10n(tmp_path)
    images = load_folder_dataset("animal10n", tmp_path, 8).train_images
    assert torch.equal(images, torch.stack([pixels_of(seed, 8) for seed in EXPECTED["animal10n"].train_seeds]))


# The decoded copy.


def test_a_decoded_copy_alone_is_enough(tmp_path):
    write_tiny_imagenet(tmp_path / "here")
    first = load_folder_dataset("tiny_imagenet", tmp_path / "here", 8)
    shutil.copytree(tmp_path / "here" / "tiny_imagenet_8px", tmp_path / "there" / "tiny_imagenet_8px")
    second = load_folder_dataset("tiny_imagenet", tmp_path / "there", 8)
    assert second.class_names == first.class_names
    for one, two in zip([*first[:4], *first.statistics], [*second[:4], *second.statistics], strict=True):
        assert torch.equal(one, two)


def test_a_second_load_does_not_look_at_the_images(tmp_path):
    source = write_animal10n(tmp_path)
    first = load_folder_dataset("animal10n", tmp_path, 8)
    shutil.rmtree(source)
    assert torch.equal(load_folder_dataset("animal10n", tmp_path, 8).train_images, first.train_images)


def test_each_size_has_a_copy_of_its_own(tmp_path):
    write_animal10n(tmp_path)
    load_folder_dataset("animal10n", tmp_path, 8)
    assert load_folder_dataset("animal10n", tmp_path, 6).train_images.shape == (11, 3, 6, 6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["animal10n", "animal10n_6px", "animal10n_8px"]


def test_changing_an_image_does_not_change_the_file(tmp_path):
    write_animal10n(tmp_path)
    decoded = load_folder_dataset("animal10n", tmp_path, 8)
    before = file_contents(tmp_path / "animal10n_8px")
    decoded.train_images.fill_(17)
    assert file_contents(tmp_path / "animal10n_8px") == before
    assert (load_folder_dataset("animal10n", tmp_path, 8).train_images != 17).any()


@pytest.mark.filterwarnings("error")
def test_loading_gives_no_warning(tmp_path):
    write_animal10n(tmp_path)
    load_folder_dataset("animal10n", tmp_path, 8)


def test_the_arrays_are_plain_numpy_files(tmp_path):
    write_animal10n(tmp_path)
    decoded = load_folder_dataset("animal10n", tmp_path, 8)
    plain = np.load(tmp_path / "animal10n_8px" / "train_images.npy", allow_pickle=False)
    assert np.array_equal(plain, decoded.train_images.numpy())


def test_a_failed_decode_leaves_nothing_behind(tmp_path):
    source = write_animal10n(tmp_path)
    (source / "testing" / "7_b_1.jpg").write_text("no image")
    load_error("animal10n", tmp_path)
    assert list(tmp_path.iterdir()) == [source]


def test_an_interrupted_decode_leaves_nothing_behind(tmp_path, monkeypatch):
    source = write_animal10n(tmp_path)
    decode_image = folders._decode_image

    def interrupted(path, size):
        if "9_509" in path:
            raise KeyboardInterrupt
        return decode_image(path, size)

    monkeypatch.setattr(folders, "_decode_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_folder_dataset("animal10n", tmp_path, 8)
    assert list(tmp_path.iterdir()) == [source]


def test_of_two_processes_that_decode_the_first_wins_and_the_second_reads_its_copy(tmp_path, monkeypatch):
    write_animal10n(tmp_path)
    rename = os.replace

    def second_to_come(made, folder):
        shutil.copytree(made, folder)
        rename(made, folder)

    monkeypatch.setattr(os, "replace", second_to_come)
    assert len(load_folder_dataset("animal10n", tmp_path, 8).train_images) == 11
    assert sorted(path.name for path in tmp_path.iterdir()) == ["animal10n", "animal10n_8px"]


# What is refused.


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path):
    message = load_error("imagenet", tmp_path)
    assert "imagenet" in message and "tiny_imagenet, clothing1m" in message


@pytest.mark.parametrize("size", [0, -3])
def test_an_image_size_below_one_is_refused(size, tmp_path):
    write_animal10n(tmp_path)
    assert str(size) in load_error("animal10n", tmp_path, size)


@pytest.mark.parametrize("name", WRITERS)
def test_an_absent_source_folder_is_named_with_its_place_and_layout(name, tmp_path):
    message = load_error(name, tmp_path)
    dataset = FOLDER_DATASETS[name]
    assert name in message and str(tmp_path) in message and dataset.contents in message
    assert all(folder in message for folder in dataset.folders) and "cannot be downloaded automatically" in message


LIST_FILES = [
    ("tiny_imagenet", "tiny-imagenet-200/wnids.txt"),
    ("tiny_imagenet", "tiny-imagenet-200/words.txt"),
    ("tiny_imagenet", "tiny-imagenet-200/val/val_annotations.txt"),
    ("clothing1m", "clothing1M/category_names_eng.txt"),
    ("clothing1m", "clothing1M/noisy_train_key_list.txt"),
    ("clothing1m", "clothing1M/noisy_label_kv.txt"),
    ("clothing1m", "clothing1M/clean_test_key_list.txt"),
    ("clothing1m", "clothing1M/clean_label_kv.txt"),
    ("food101n", "Food-101N_release/meta/classes.txt"),
    ("food101n", "Food-101N_release/meta/imagelist.tsv"),
    ("food101n", "food-101/meta/test.txt"),
    ("webvision_mini", "webvision/info/synsets.txt"),
    ("webvision_mini", "webvision/info/train_filelist_google.txt"),
    ("webvision_mini", "webvision/info/val_filelist.txt"),
]


@pytest.mark.parametrize("name, file", LIST_FILES)
def test_a_missing_list_file_is_named(name, file, tmp_path):
    WRITERS[name](tmp_path)
    (tmp_path / file).unlink()
    message = load_error(name, tmp_path)
    assert str(tmp_path / file) in message and "missing" in message


def test_a_list_file_that_is_not_text_is_named(tmp_path):
    path = write_tiny_imagenet(tmp_path) / "wnids.txt"
    path.write_bytes(b"n01\n\xff\xfe\n")
    assert str(path) in load_error("tiny_imagenet", tmp_path)


MALFORMED = [
    ("tiny_imagenet", "tiny-imagenet-200/wnids.txt", 1, ""),
    ("tiny_imagenet", "tiny-imagenet-200/words.txt", 2, "n02"),
    ("tiny_imagenet", "tiny-imagenet-200/val/val_annotations.txt", 1, "val_0.JPEG"),
    ("clothing1m", "clothing1M/category_names_eng.txt", 2, "  "),
    ("clothing1m", "clothing1M/noisy_train_key_list.txt", 2, ""),
    ("clothing1m", "clothing1M/noisy_label_kv.txt", 3, "images/2/20/2,a.jpg"),
    ("food101n", "Food-101N_release/meta/imagelist.tsv", 3, "waffles"),
    ("food101n", "Food-101N_release/meta/imagelist.tsv", 2, "apple_pie/"),
    ("food101n", "food-101/meta/test.txt", 1, "/17"),
    ("webvision_mini", "webvision/info/synsets.txt", 7, "n00000006"),
    ("webvision_mini", "webvision/info/train_filelist_google.txt", 5, "google/q0046/x.jpg"),
]


@pytest.mark.parametrize("name, file, number, line", MALFORMED)
def test_a_malformed_line_is_named_with_its_number(name, file, number, line, tmp_path):
    WRITERS[name](tmp_path)
    replace_line(tmp_path / file, number, line)
    assert f"{tmp_path / file}, line {number}: expected" in load_error(name, tmp_path)


OUTSIDE = [
    ("tiny_imagenet", "tiny-imagenet-200/val/val_annotations.txt", 2, "val_1.JPEG\tn03\t0\t0\t1\t1", "n03"),
    ("clothing1m", "clothing1M/noisy_label_kv.txt", 2, "images/1/10/1,a.jpg 3", "3"),
    ("clothing1m", "clothing1M/clean_label_kv.txt", 1, "images/0/00/0,a.jpg -1", "-1"),
    ("clothing1m", "clothing1M/clean_label_kv.txt", 1, "images/0/00/0,a.jpg 1.0", "1.0"),
    ("food101n", "Food-101N_release/meta/imagelist.tsv", 2, "pizza/aa.jpg", "pizza"),
    ("food101n", "food-101/meta/test.txt", 2, "pizza/4", "pizza"),
    ("webvision_mini", "webvision/info/train_filelist_google.txt", 4, "google/q0047/x.jpg 60", "60"),
    ("webvision_mini", "webvision/info/val_filelist.txt", 3, "val000003.jpg zero", "zero"),
]


@pytest.mark.parametrize("name, file, number, line, label", OUTSIDE)
def test_a_label_of_no_class_is_named_with_its_line(name, file, number, line, label, tmp_path):
    WRITERS[name](tmp_path)
    replace_line(tmp_path / file, number, line)
    assert f"{tmp_path / file}, line {number}: label '{label}'" in load_error(name, tmp_path)


@pytest.mark.parametrize("file, label", [("10_1.jpg", "10"), ("cat_1.jpg", "cat"), ("1.jpg", "1.jpg")])
def test_an_animal_of_no_class_is_named_by_its_file(file, label, tmp_path):
    path = write_image(write_animal10n(tmp_path) / "training" / file, made_pixels(0))
    message = load_error("animal10n", tmp_path)
    assert str(path) in message and f"label '{label}'" in message and "10 classes" in message


def test_files_beside_the_animals_are_no_images(tmp_path):
    write_lines(write_animal10n(tmp_path) / "training" / "Thumbs.db", "made by a file browser")
    assert len(load_folder_dataset("animal10n", tmp_path, 8).train_labels) == 11


@pytest.mark.parametrize(
    "lists", ["noisy_train_key_list.txt noisy_label_kv.txt", "clean_test_key_list.txt clean_label_kv.txt"]
)
def test_a_key_without_a_label_is_named_with_its_line(lists, tmp_path):
    keys, labels = (write_clothing1m(tmp_path) / file for file in lists.split())
    replace_line(keys, 2, "images/9/99/9.jpg")
    message = load_error("clothing1m", tmp_path)
    assert f"{keys}, line 2" in message and "images/9/99/9.jpg has no label" in message and str(labels) in message


def test_hidden_files_are_no_images(tmp_path):
    source = write_animal10n(tmp_path)
    for place in ("training/._4_504.jpg", "testing/._2_a.jpg", "testing/.trash.png"):
        write_lines(source / place, "made by macOS")
    assert len(load_folder_dataset("animal10n", tmp_path, 8).train_labels) == 11


def ramp(dtype: str, top: int) -> np.ndarray:
    """Grey values from 0 to `top` in equal steps, 8 x 8."""
    return np.linspace(0, top, 64).round().astype(dtype).reshape(8, 8)


def half_transparent(mode: str) -> Image.Image:
    """Black above, a transparent black below."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, 3] = 255
    image = Image.fromarray(pixels)
    return image.quantize(4) if mode == "P" else image.convert(mode)


GREY = torch.from_numpy(ramp("float64", 255).round()).expand(3, 8, 8)
ON_WHITE = torch.tensor([0.0] * 4 + [255.0] * 4)[:, None].expand(3, 8, 8)


@pytest.mark.parametrize(
    ("image", "kind", "seen"),
    [
        (Image.fromarray(ramp("uint16", 65535)), "PNG", GREY),  # I;16
        (Image.fromarray(ramp("int32", 65535)), "TIFF", GREY),  # I
        (Image.fromarray(ramp("uint8", 255)), "PNG", GREY),  # L
        (Image.fromarray(ramp("uint8", 255)).quantize(64), "PNG", GREY),  # P
        (Image.fromarray(ramp("uint8", 255)).convert("RGB").convert("CMYK"), "TIFF", GREY),
        (Image.fromarray(ramp("uint8", 255) > 127), "PNG", (GREY > 127) * 255.0),  # 1
        (half_transparent("RGBA"), "PNG", ON_WHITE),
        (half_transparent("LA"), "PNG", ON_WHITE),
        (half_transparent("P"), "PNG", ON_WHITE),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_an_image_of_any_mode_is_decoded_as_it_is_seen(tmp_path, image, kind, seen):
    path = write_animal10n(tmp_path) / "training" / "0_500.jpg"
    image.save(path, format=kind)
    assert (load_folder_dataset("animal10n", tmp_path, 8).train_images[0] - seen).abs().max() <= 2


def test_an_image_is_turned_as_its_camera_was_held(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # turn by 180 degrees
    image = Image.fromarray(ramp("uint8", 255)[::-1, ::-1].copy())
    image.save(write_animal10n(tmp_path) / "training" / "0_500.jpg", format="PNG", exif=exif)
    assert torch.equal(load_folder_dataset("animal10n", tmp_path, 8).train_images[0].double(), GREY)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_pixels_of_unknown_range_are_refused_by_name(tmp_path, dtype):
    path = write_animal10n(tmp_path) / "training" / "0_500.jpg"
    Image.fromarray(ramp(dtype, 100_000)).save(path, format="TIFF")
    message = load_error("animal10n", tmp_path)
    assert str(path) in message and "save it with 8 bits a pixel" in message


@pytest.mark.parametrize("place", ["training/4_504.jpg", "testing/2_a.jpg"])
def test_a_broken_image_is_named(place, tmp_path):
    path = write_animal10n(tmp_path) / place
    path.write_text("not found")
    assert str(path) in load_error("animal10n", tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_truncated_image_is_named(kind, tmp_path):
    path = write_animal10n(tmp_path) / "training" / "4_504.jpg"
    whole = io.BytesIO()
    Image.fromarray(made_pixels(0, 64, 64)).save(whole, format=kind)
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) * 2 // 3])
    assert str(path) in load_error("animal10n", tmp_path)


def test_pil_is_never_told_to_accept_truncated_images(tmp_path):
    write_animal10n(tmp_path)
    load_folder_dataset("animal10n", tmp_path, 8)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_an_image_that_is_listed_but_missing_is_named(tmp_path):
    path = write_clothing1m(tmp_path) / "images/1/10/1,a.jpg"
    path.unlink()
    message = load_error("clothing1m", tmp_path)
    assert str(path) in message and "missing" in message


def test_a_folder_without_images_is_named(tmp_path):
    source = write_animal10n(tmp_path)
    shutil.rmtree(source / "training")
    message = load_error("animal10n", tmp_path)
    assert "no training image found" in message and str(source) in message


def test_a_class_without_training_images_is_named_before_anything_is_decoded(tmp_path):
    source = write_tiny_imagenet(tmp_path)
    shutil.rmtree(source / "train" / "n02")
    assert "no training image found of class 'goldfish'" in load_error("tiny_imagenet", tmp_path)
    assert list(tmp_path.iterdir()) == [source]


def test_a_folder_without_test_images_is_named(tmp_path):
    source = write_animal10n(tmp_path)
    shutil.rmtree(source / "testing")
    message = load_error("animal10n", tmp_path)
    assert "no test image found" in message and str(source) in message


def test_too_little_room_is_told_before_anything_is_decoded(tmp_path, monkeypatch):
    source = write_animal10n(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "free")(2_000_000_000))
    message = load_error("animal10n", tmp_path, 10_000)
    assert "3.9 GB" in message and "2.0 GB are free" in message
    assert list(tmp_path.iterdir()) == [source]


def test_a_disk_that_cannot_be_written_is_told_in_one_line(tmp_path, monkeypatch):
    source = write_animal10n(tmp_path)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    message = load_error("animal10n", tmp_path)
    assert "animal10n_8px" in message and "No space left" in message
    assert list(tmp_path.iterdir()) == [source]


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def drop(path: Path, key: str) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive if name != key}
    np.savez(path, **arrays)


DAMAGES = {
    "short training images": lambda folder: shorten(folder / "train_images.npy"),
    "short test images": lambda folder: shorten(folder / "test_images.npy"),
    "short labels": lambda folder: shorten(folder / "labels.npz"),
    "no training images": lambda folder: (folder / "train_images.npy").unlink(),
    "no labels": lambda folder: (folder / "labels.npz").unlink(),
    "empty images": lambda folder: (folder / "test_images.npy").write_bytes(b""),
    "images of another size": lambda folder: np.save(folder / "test_images.npy", np.zeros((2, 3, 9, 9), np.uint8)),
    "more images than labels": lambda folder: np.save(folder / "test_images.npy", np.zeros((3, 3, 8, 8), np.uint8)),
    "float images": lambda folder: np.save(folder / "test_images.npy", np.zeros((2, 3, 8, 8), np.float32)),
    "a pickle": lambda folder: np.save(folder / "test_images.npy", np.array([{}, {}]), allow_pickle=True),
    "nothing": lambda folder: [path.unlink() for path in folder.iterdir()],
    **{
        f"no {key}": lambda folder, key=key: drop(folder / "labels.npz", key)
        for key in ("train_labels", "test_labels", "class_names", "mean", "std")
    },
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_named_with_the_advice_to_delete_it(damage, tmp_path):
    write_animal10n(tmp_path)
    load_folder_dataset("animal10n", tmp_path, 8)
    DAMAGES[damage](tmp_path / "animal10n_8px")
    message = load_error("animal10n", tmp_path)
    assert str(tmp_path / "animal10n_8px") in message and "delete it to decode again" in message


# That memory does not grow with the number of images.

MEASURE = """
import sys
from pathlib import Path
from nlcore.data.folders import load_folder_dataset

def kilobytes(key):
    return int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0])

decoded = load_folder_dataset("animal10n", Path(sys.argv[1]), 64)
peak = kilobytes("VmHWM")
for batch in decoded.train_images.split(128):
    batch.max()  # looks at every pixel; a sum would make int64 copies that the allocator may keep
print(len(decoded.train_images), peak * 1024, kilobytes("RssAnon") * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_ten_times_the_images_take_no_more_memory(tmp_path):
    image = write_image(tmp_path / "one.jpg", made_pixels(0, 8, 8), "JPEG")
    peaks, anonymous = [], []
    for n in STREAMED:
        for folder, count in (("training", n), ("testing", 10)):
            (tmp_path / str(n) / "animal10n" / folder).mkdir(parents=True)
            for i in range(count):
                os.link(image, tmp_path / str(n) / "animal10n" / folder / f"{i % 10}_{i}.jpg")
        command = [sys.executable, "-c", MEASURE, str(tmp_path / str(n))]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
        assert done.returncode == 0, done.stderr
        loaded, peak, anonymous_bytes = map(int, done.stdout.split())
        assert loaded == n
        peaks.append(peak)
        anonymous.append(anonymous_bytes)
    images_bytes = (STREAMED[1] - STREAMED[0]) * 3 * 64**2
    assert images_bytes > 5 * FEW_BYTES
    assert peaks[1] - peaks[0] < FEW_BYTES and anonymous[1] - anonymous[0] < FEW_BYTES, (peaks, anonymous)
