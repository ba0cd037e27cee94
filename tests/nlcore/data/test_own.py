"""Own data by path: every form that people come with, and one line for every mistake."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from nlcore import InputError, TrainConfig, corrupt, load_dataset, train
from nlcore.basics.files import KEPT_EPOCHS
from nlcore.data.cifar_classes import CIFAR10_CLASSES
from nlcore.data.own import holds_vectors, own_options
from nlcore.training.config import with_overrides

WORDS = {"ham": "meeting lunch report thanks agenda", "spam": "win money prize offer free"}


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path / "cache"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Sixty images of two classes, dark and bright, of five sizes and modes."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    sizes, modes = [(20, 30), (32, 32), (64, 40), (17, 17), (100, 50)], ["L", "RGB", "RGBA", "P", "I;16"]
    for number in range(60):
        kind = ("dark", "bright")[number % 2]
        place = folder / kind / "deeper" if number % 3 else folder / kind
        place.mkdir(parents=True, exist_ok=True)
        grey = rng.integers(0, 90, sizes[number % 5]) + (number % 2) * 160
        mode = modes[number // 2 % 5]
        if mode == "I;16":
            Image.fromarray((grey * 257).astype(np.uint16)).save(place / f"{number}.png")
        else:
            image = Image.fromarray(grey.astype(np.uint8)).convert(mode)
            image.save(place / (f"{number}.jpg" if mode in ("L", "RGB") else f"{number}.png"))
    (folder / ".hidden").mkdir()
    (folder / "dark" / ".thumbnails").mkdir()
    (folder / "dark" / ".thumbnails" / "small.png").write_bytes(b"no image")
    (folder / "dark" / "._1.png").write_bytes(b"no image")
    return folder


def messages(n: int = 120) -> pd.DataFrame:
    """Texts of two kinds; every tenth has the label of the other."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(n):
        kind = ("ham", "spam")[number % 2]
        text = " ".join(rng.choice(WORDS[kind].split(), 6))
        rows.append(
            {"id": 1000 + number, "text": text, "label": ("spam", "ham")[number % 2] if number % 10 < 1 else kind}
        )
    return pd.DataFrame(rows)


def flowers(n: int = 90) -> pd.DataFrame:
    """Three classes by two numbers, beside a column of words and a row number."""
    rng = np.random.default_rng(0)
    kinds = np.arange(n) % 3
    size = {"length": kinds + rng.normal(0, 0.3, n), "width": -kinds + rng.normal(0, 0.3, n)}
    return pd.DataFrame(
        {"index": np.arange(n)} | size | {"place": "garden", "species": np.array(["a", "b", "c"])[kinds]}
    )


def trained(path: Path, **options):
    """A short run with the command's own defaults."""
    config = TrainConfig(
        dataset=f"path:{path}", data_options=options, method="dividemix", epochs=4, batch_size=16, threads=1
    )
    return train(config)


def test_a_folder_of_images_of_any_size_and_mode(images):
    data = load_dataset(f"path:{images}", image_size=16)
    assert data.class_names == ("bright", "dark") and data.train_images.shape == (60, 3, 16, 16)
    brightness = data.train_images.float().mean((1, 2, 3))
    assert bool((brightness[data.train_labels == 0] > 128).all() and (brightness[data.train_labels == 1] < 128).all())
    assert len(data.test_labels) == 0 and not data.holds_vectors


def test_images_are_decoded_once_and_again_when_a_file_has_changed(images, tmp_path):
    load_dataset(f"path:{images}")
    decoded = list((tmp_path / "cache" / "own").iterdir())
    load_dataset(f"path:{images}")
    assert list((tmp_path / "cache" / "own").iterdir()) == decoded and len(decoded) == 1
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(images / "dark" / "60.png")
    assert len(load_dataset(f"path:{images}").train_labels) == 61


def test_a_share_of_every_class_is_the_test_set_and_the_same_each_time(images):
    first, again = (load_dataset(f"path:{images}", test=0.2) for _ in range(2))
    assert torch.bincount(first.test_labels).tolist() == [6, 6] and len(first.train_labels) == 48
    assert torch.equal(first.test_images, again.test_images)


def test_a_text_becomes_numbers_learnt_on_the_training_rows_alone(tmp_path):
    messages().to_csv(tmp_path / "train.csv", index=False)
    messages(20).assign(text="prize money unheard").to_csv(tmp_path / "test.csv", index=False)
    options = {"text_column": "text", "test": str(tmp_path / "test.csv")}
    data = load_dataset(f"path:{tmp_path / 'train.csv'}", **options)
    assert data.class_names == ("ham", "spam") and data.train_images.dtype == torch.float32
    assert len(data.test_labels) == 20 and data.test_images.shape[1] == data.train_images.shape[1]
    alone = load_dataset(f"path:{tmp_path / 'train.csv'}", text_column="text")
    torch.testing.assert_close(alone.train_images, data.train_images)


@pytest.mark.parametrize("form", ["csv", "tsv", "csv.gz", "parquet"])
def test_the_numbers_of_a_table_are_vectors_without_its_row_numbers(form, tmp_path):
    path = tmp_path / f"flowers.{form}"
    if form == "parquet":
        flowers().to_parquet(path)
    else:
        flowers().to_csv(path, sep="\t" if form == "tsv" else ",", index=False)
    data = load_dataset(f"path:{path}", label_column="species")
    assert data.class_names == ("a", "b", "c") and data.train_images.shape == (90, 2)


def test_a_column_of_image_files(images, tmp_path):
    files = [str(file.relative_to(tmp_path)) for file in sorted(images.rglob("[0-9]*.*"))]
    table = pd.DataFrame({"file": files, "label": ["dark" if "dark" in file else "bright" for file in files]})
    table.to_csv(tmp_path / "list.csv", index=False)
    data = load_dataset(f"path:{tmp_path / 'list.csv'}", image_column="file", image_size=8)
    assert data.train_images.shape == (60, 3, 8, 8) and data.class_names == ("bright", "dark")


def test_given_labels_come_before_others_and_what_tells_the_truth_is_no_feature(tmp_path):
    rows = np.arange(12)
    table = pd.DataFrame(
        {"ID": rows, "length": rows, "label": rows % 3, "Given label": rows % 2, "true_label": rows % 4}
    )
    table.to_csv(tmp_path / "checked.csv", index=False)
    data = load_dataset(f"path:{tmp_path / 'checked.csv'}")
    assert data.train_labels.tolist() == (rows % 2).tolist() and data.train_images.flatten().tolist() == rows.tolist()


@pytest.mark.parametrize("labels", ["npy", "txt", "csv", "npz"])
def test_arrays_have_their_labels_beside_them(labels, tmp_path):
    rng, names = np.random.default_rng(0), np.array(["10", "9"])[np.arange(40) % 2]
    vectors = (rng.normal(size=(40, 5)) + (np.arange(40) % 2)[:, None]).astype(np.float16)
    path = tmp_path / "vectors.npy"
    np.save(path, vectors)
    if labels == "npy":
        np.save(tmp_path / "vectors_labels.npy", names.astype(np.float64))
    elif labels == "npz":
        path = tmp_path / "both.npz"
        np.savez(path, features=vectors, labels=names)
    else:
        head = "label\n" if labels == "csv" else ""
        (tmp_path / f"vectors_labels.{labels}").write_text(head + "\n".join(names) + "\n")
    data = load_dataset(f"path:{path}")
    assert data.class_names == ("9", "10")  # numbers by their size
    assert data.train_images.dtype == torch.float16 and data.train_labels.tolist() == [1, 0] * 20


def test_images_in_an_array_may_have_their_channels_last(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=images, y=np.arange(10) % 2)
    data = load_dataset(f"path:{tmp_path / 'images.npz'}")
    assert data.train_images.shape == (10, 3, 8, 6) and np.array_equal(data.train_images[3, 1], images[3, :, :, 1])


@pytest.mark.parametrize("form", ["npz", "npy"])
@pytest.mark.parametrize("dtype", [">f8", ">f4", ">f2", ">i4"])
def test_big_endian_arrays_are_like_any_others(dtype, form, tmp_path):
    rows, labels, path = np.arange(-6, 6).reshape(4, 3), np.array([2, 10, 2, 10]), tmp_path / f"a.{form}"
    for kind in (">i8", ">f4"):
        if form == "npz":
            np.savez(path, inputs=rows.astype(dtype), labels=labels.astype(kind))
        else:
            np.save(path, rows.astype(dtype))
            np.save(tmp_path / "a_labels.npy", labels.astype(kind))
        data = load_dataset(f"path:{path}")
        assert data.train_images.dtype == (torch.float16 if dtype == ">f2" else torch.float32)
        assert data.train_images.tolist() == rows.tolist() and data.class_names == ("2", "10")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["f2", ">f2", "f4", "f8", "g", ">f8"])
def test_labels_may_be_floats_of_any_width_without_a_warning(dtype, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=np.array([2, 300] * 2, dtype))
    assert load_dataset(f"path:{tmp_path / 'a.npz'}").class_names == ("2", "300")
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=np.array([2, -np.inf] * 2, dtype))
    with pytest.raises(InputError, match=r"label 1 is -inf"):
        load_dataset(f"path:{tmp_path / 'a.npz'}")


def test_a_file_of_arrays_that_is_none_or_of_the_other_kind_is_one_line(tmp_path):
    np.save(tmp_path / "a_labels.npy", np.arange(4) % 2)
    for name in ("a.npz", "a.npy"):
        (tmp_path / name).write_bytes(b"these are words")
        with pytest.raises(InputError, match=rf"{name} cannot be read \(it is damaged, or holds objects; save"):
            load_dataset(f"path:{tmp_path / name}")
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.zeros((4, 2)))
    with pytest.raises(InputError, match=r"a\.npz holds a single array; rename it to a\.npy"):
        load_dataset(f"path:{tmp_path / 'a.npz'}")
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, inputs=np.zeros((4, 2)))
    with pytest.raises(InputError, match=r"a\.npy holds several arrays; rename it to a\.npz"):
        load_dataset(f"path:{tmp_path / 'a.npy'}")


def test_training_needs_no_test_set_and_keeps_the_labels_that_were_given(tmp_path):
    messages().to_csv(tmp_path / "mail.csv", index=False)
    result = trained(tmp_path / "mail.csv", text_column="text")
    assert (result.best, result.last, result.last10, result.summary()) == (None, None, None, "no test set")
    assert result.config.noise == "given" and result.config.network == "mlp"
    doubted = [p < 0.5 for p in result.samples["clean_prob"]]
    wrong = [row % 10 < 1 for row in range(120)]
    assert sum(d and w for d, w in zip(doubted, wrong, strict=True)) >= 10
    assert sum(d and not w for d, w in zip(doubted, wrong, strict=True)) <= 6


def test_a_result_names_the_classes(images):
    result = trained(images, test=0.2, image_size=8)
    assert json.loads(result.to_json())["class_names"] == ["bright", "dark"] and result.last > 70
    names = [("bright", "dark")[label] for label in result.samples["given_label"]]
    assert result.samples["given_name"] == names and set(result.samples["corrected_name"]) <= {"bright", "dark"}


@pytest.mark.parametrize(
    ("name", "options", "vectors"),
    [
        ("photos", {}, False),
        ("t.csv", {}, True),
        ("t.csv", {"image_column": "file"}, False),
        ("v.npy", {}, True),
        ("i.npz", {}, False),
    ],
)
def test_the_kind_of_data_is_known_before_they_are_read(name, options, vectors, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "t.csv").touch()
    np.save(tmp_path / "v.npy", np.zeros((3, 2), np.float32))
    np.save(tmp_path / "v_labels.npy", np.arange(3))
    np.savez(tmp_path / "i.npz", images=np.zeros((3, 4, 4), np.uint8), labels=np.arange(3))
    assert holds_vectors(str(tmp_path / name), own_options(options)) is vectors


def test_the_kind_of_arrays_is_told_by_their_header_alone(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 3)), y=np.arange(4))
    np.save(tmp_path / "b.npy", np.zeros((4, 3, 2, 2), np.uint8))
    monkeypatch.setattr("numpy.lib.format.read_array", None)  # what reads an array's content
    assert holds_vectors(str(tmp_path / "a.npz"), own_options({}))
    assert not holds_vectors(str(tmp_path / "b.npy"), own_options({}))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((4, 3))}, "needs labels in an array called label or y; it has x"),
        ({"z": np.zeros((4, 3)), "y": np.arange(4) % 2}, "needs an array called inputs or .*; it has z, y"),
        ({"x": np.zeros((4, 3)), "y": np.array([0, 1, np.nan, 1])}, "label 2 is NaN"),
        ({"x": np.zeros(4), "y": np.arange(4) % 2}, r"images, uint8 .* or vectors, floats .*float64 \(4,\)"),
        ({"x": np.zeros((4, 3)), "y": np.zeros((4, 1))}, "labels must have one dimension"),
        ({"x": np.zeros((4, 3)), "y": np.arange(6) % 2}, "holds 4 samples and 6 labels"),
        ({"x": np.zeros((4, 3)), "y": np.array([0, 1, 0, None])}, r"cannot be read \(it is damaged, or holds objects"),
        ({"x": np.full((4, 3), None), "y": np.arange(4) % 2}, r"cannot be read \(it is damaged, or holds objects"),
        (
            {"x": np.zeros((4, 3), "g"), "y": np.arange(4) % 2},
            r"inputs must be uint8 images .*, not \w+ of shape \(4, 3\)",
        ),
        ({"x": np.zeros((4, 3), "U5"), "y": np.arange(4) % 2}, r"float32 vectors \(N, d\), not <U5 of shape \(4, 3\)"),
        ({"x": np.zeros((4, 3), "M8[s]"), "y": np.arange(4) % 2}, r"not datetime64\[s\] of shape \(4, 3\)"),
        ({"x": np.zeros((4, 3), "c16"), "y": np.arange(4) % 2}, r"not complex128 of shape \(4, 3\); convert them"),
        ({"x": np.array(3.0), "y": np.arange(4) % 2}, r"not float64 of shape \(\); convert them"),
        (
            {"x": np.array([[1, 2], [3, -1e300]] * 2), "y": np.arange(4) % 2},
            r"my\.npz: row 1, column 1: -1e\+300 is too large",
        ),
        ({"x": np.zeros((4, 3)), "y": np.array([0, 1, np.inf, 1])}, r"label 2 is inf, and a float .* below 2\*\*53"),
        ({"x": np.zeros((4, 3)), "y": np.array([0, -1e20] * 2)}, r"label 1 is -1e\+20, and a float .* below 2\*\*53"),
        ({"x": np.zeros((4, 3)), "y": np.array(["\udce9", "b"] * 2)}, r"my\.npz: label \\xe9 is not UTF-8; rename it"),
    ],
)
def test_a_mistake_in_arrays_is_one_line(arrays, words, tmp_path):
    np.savez(tmp_path / "my.npz", **arrays)
    with pytest.raises(InputError, match=words) as caught:
        load_dataset(f"path:{tmp_path / 'my.npz'}")
    assert "\n" not in str(caught.value)
    (tmp_path / "my.npz").write_bytes((tmp_path / "my.npz").read_bytes()[:50])
    for ask in (load_dataset, lambda path: TrainConfig(dataset=path).resolved()):
        with pytest.raises(InputError, match=r"my\.npz cannot be read"):
            ask(f"path:{tmp_path / 'my.npz'}")


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("a,b\n1,x\n2,y\n", {}, "which column holds the labels.*one of: a, b"),
        ("label\nx\ny\nx\ny\n", {}, "no column of numbers"),
        ("v,label\n1,x\n2,x\n", {}, "has 1 class; two are needed"),
        ("v,label\n1,x\n2,x\n3,y\n", {}, "label 'y' occurs once"),
        ("v,label\n1,x\n2,x,7\n", {}, "cannot be read"),
        ("v,label\n1,x\n2,\n", {}, "row 1 has no label"),
        ("v,label\n", {}, "has no rows"),
        ("", {}, "cannot be read"),
        ("v,label\n1,x\n", {"label_column": "kind"}, "has no column 'kind'; it has: v, label"),
        ("v,label\n1,x\n", {"text_column": "words"}, "has no column 'words'"),
        ("v,label\n1,x\nnan,x\n2,y\n3,y\n", {}, "row 1 has no finite number in column v"),
        ("v,label\n1,x\n1e99,x\n2,y\n3,y\n", {}, r"my\.csv: row 1, column v: 1e\+99 is too large for float32; scale"),
        ("v,label\n1,x\n2\n2,y\n3,y\n", {}, "row 1 has no label"),
        ("v,label\n1,2,x\n2,2,y\n1,2,x\n2,2,y\n", {}, "cannot be read"),  # the header lacks a name
        ("v;label\n1;x\n2;y\n", {}, "columns are separated by ';', not by ','"),
        ("1,x\n2,y\n1,x\n2,y\n", {}, "which column holds the labels.*the first line of the file"),
        (" v,v,label\n1,1,x\n2,2,y\n", {}, "has two columns called 'v'"),
        ("v,label,label\n1,x,0\n2,y,1\n", {}, "has two columns called 'label'"),
        ('"a,b","a,b",label\n1,1,x\n2,2,y\n', {}, "has two columns called 'a,b'"),
        ("f,label\na.png,x\n ,y\n", {"image_column": "f"}, "row 1 has no name of a file in column f"),
        (
            "t,label\n" + "1700000000,x\n1700000002,y\n" * 2,
            {},
            r"column t has mean 1\.7e\+09 and standard deviation 1,",
        ),
        ("v,label\n1,x\n2,y\n", {"text_column": "label"}, "column 'label' cannot be two things"),
        ("v,label\n1,x\n2,y\n", {"text_column": "v", "image_column": "v"}, "texts or images, not both"),
        ("v,label\n1,x\n2,y\n", {"label_column": 1}, r"label_column must be of type str \| None, not 1"),
        ("v,label\n,x\n,y\n,x\n,y\n", {"text_column": "v"}, "the text column holds no words"),
        ("v,label\n1,x\n2,x\n2,y\n3,y\n", {"test": 1.5}, r"a share as test set must lie in \(0, 1\)"),
        ("v,label\n1,x\n2,x\n2,y\n3,y\n", {"test": 0}, r"a share as test set must lie in \(0, 1\)"),
        ("v,label\n1,x\n2,x\n2,y\n3,y\n", {"image_size": 0}, "image_size must be at least 1"),
        ("v,label\n1,x\n2,x\n2,y\n3,y\n", {"colour": 1}, "unknown data option 'colour'"),
    ],
)
def test_a_mistake_in_a_table_is_one_line(content, options, words, tmp_path):
    (tmp_path / "my.csv").write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        load_dataset(f"path:{tmp_path / 'my.csv'}", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_class_names_are_the_words_of_the_table_without_blanks_around_them(form, tmp_path):
    labels = ["None", " None", "NA", "NA "] * 5
    table = pd.DataFrame({" size ": np.arange(20), "Label ": labels})
    path = tmp_path / f"t.{form}"
    table.to_parquet(path) if form == "parquet" else table.to_csv(path, index=False, encoding="utf-8-sig")
    data = load_dataset(f"path:{path}", label_column="Label")
    assert data.class_names == ("NA", "None") and data.train_labels.tolist() == [1, 1, 0, 0] * 5


def test_a_separator_or_a_mark_of_bytes_in_front_hides_no_name_that_is_there_twice(tmp_path):
    (tmp_path / "t.tsv").write_text("\nlabel\tv\tlabel\nx\t1\t0\ny\t2\t1\n", encoding="utf-8-sig")
    with pytest.raises(InputError, match=r"t\.tsv has two columns called 'label'"):
        load_dataset(f"path:{tmp_path / 't.tsv'}")


def test_columns_without_a_name_are_not_two_of_one_name(tmp_path):
    rows = "".join(f"{k},{k},{k % 3},{k % 2}\n" for k in range(6))
    for first in (",Unnamed: 0", "Unnamed: 0.1,Unnamed: 0"):  # row numbers that pandas wrote, twice
        (tmp_path / "t.csv").write_text(f"{first},v,label\n" + rows)
        found = load_dataset(f"path:{tmp_path / 't.csv'}").train_images
        assert found.flatten().tolist() == [0, 1, 2, 0, 1, 2]
    (tmp_path / "t.csv").write_text("v,v.1,,label\n" + rows)
    assert load_dataset(f"path:{tmp_path / 't.csv'}").train_images.shape == (6, 3)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (["1e20", "2e20"], ("1e20", "2e20")),
        (["9007199254740993.0", "9007199254740992.0"], ("9007199254740992.0", "9007199254740993.0")),
        (["12345678901234567890.0", "3.0"], ("3", "12345678901234567890.0")),
        (["-1e20", "3"], ("-1e20", "3")),
        (["2.0", "3"], ("2", "3")),
    ],
)
def test_large_numbers_are_classes_as_they_are_written(written, names, tmp_path):
    (tmp_path / "t.csv").write_text("v,label\n" + "".join(f"{k},{written[k % 2]}\n" for k in range(6)))
    assert load_dataset(f"path:{tmp_path / 't.csv'}").class_names == names


@pytest.mark.parametrize("form", ["csv", "parquet", "npz", "npy"])
def test_a_column_whose_spread_float32_loses_is_refused_unless_it_is_constant(form, tmp_path):
    def saved(rows: np.ndarray) -> str:
        path, labels = tmp_path / f"t.{form}", np.arange(len(rows)) % 2
        table = pd.DataFrame(rows, columns=["0", "1"]).assign(label=labels)
        if form == "npz":
            np.savez(path, inputs=rows, labels=labels)
        elif form == "npy":
            np.save(path, rows)
            np.save(tmp_path / "t_labels.npy", labels)
        else:
            table.to_parquet(path) if form == "parquet" else table.to_csv(path, index=False)
        return f"path:{path}"

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 2)) + np.array([0, 1.7e9])
    for lost in (rows, rng.integers(0, 9, (40, 2)) + np.array([0, 2**60])):
        with pytest.raises(InputError, match=rf"t\.{form}: column 1 has mean 1.*; subtract the column's mean first"):
            load_dataset(saved(lost))
    kept = load_dataset(saved(rows - np.array([0, 1.7e9]))).train_images
    assert torch.equal(kept, torch.from_numpy(rows - np.array([0, 1.7e9])).float())
    rows[:, 1] = 1.7e9
    assert load_dataset(saved(rows)).train_images.shape == (40, 2)


def test_the_numbers_of_a_test_set_have_to_be_held_by_float32_but_not_to_differ(tmp_path):
    rows, alike = np.random.default_rng(0).normal(size=(40, 2)), np.array([[2000.0, 1], [2000.001, 2]])
    labels, path = np.arange(40) % 2, tmp_path / "t.npz"
    np.savez(path, inputs=rows, labels=labels, test_inputs=alike, test_labels=labels[:2])
    assert len(load_dataset(f"path:{path}").test_images) == 2
    np.savez(path, inputs=rows, labels=labels, test_inputs=alike * 1e300, test_labels=labels[:2])
    with pytest.raises(InputError, match=r"t\.npz, test_inputs: row 0, column 0: 2e\+303 is too large for float32"):
        load_dataset(f"path:{path}")
    np.savez(path, inputs=rows, labels=labels)
    np.savez(tmp_path / "other.npz", inputs=alike * 1e300, labels=labels[:2])
    with pytest.raises(InputError, match=r"other\.npz: row 0, column 0: 2e\+303 is too large for float32"):
        load_dataset(f"path:{path}", test=str(tmp_path / "other.npz"))


def test_what_is_left_out_of_a_table_is_named(tmp_path, caplog):
    (tmp_path / "t.csv").write_text("a,b,label\n" + "1,2,x\n3,many,y\n" * 4)
    assert load_dataset(f"path:{tmp_path / 't.csv'}").train_images.shape == (8, 1)
    assert "not all numbers, so left out: b" in caplog.text


def test_a_text_may_be_empty(tmp_path):
    messages(40).assign(text=lambda table: table["text"].where(table["id"] != 1003, None)).to_csv(tmp_path / "t.csv")
    data = load_dataset(f"path:{tmp_path / 't.csv'}", text_column="text")
    assert not data.train_images[3].any() and data.train_images[2].any()


def test_labels_in_a_text_file_may_end_in_empty_lines_but_have_none_between(tmp_path):
    np.save(tmp_path / "v.npy", np.arange(12).reshape(4, 3))
    (tmp_path / "v_labels.txt").write_text("\ufeffa\nb \na\nb\n\n", encoding="utf-8")
    data = load_dataset(f"path:{tmp_path / 'v.npy'}")
    assert data.class_names == ("a", "b")
    assert data.train_images.dtype == torch.float32 and data.train_images[1].tolist() == [3, 4, 5]
    (tmp_path / "v_labels.txt").write_text("a\n\na\nb\n")
    with pytest.raises(InputError, match="sample 1 has no label"):
        load_dataset(f"path:{tmp_path / 'v.npy'}")


def test_the_labels_of_arrays_may_be_named_and_may_be_bytes(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=[0, 1, 0, 1], kind=np.array([b"no", b"yes"] * 2))
    assert load_dataset(f"path:{tmp_path / 'a.npz'}", label_column="kind").class_names == ("no", "yes")
    with pytest.raises(InputError, match="labels in an array called 'z'; it has x, y, kind"):
        load_dataset(f"path:{tmp_path / 'a.npz'}", label_column="z")


def test_samples_that_stay_in_training_keep_their_rows_and_the_names_of_their_files(images):
    whole, part = load_dataset(f"path:{images}"), load_dataset(f"path:{images}", test=0.2)
    assert part.full_size == 60 and torch.equal(whole.train_images[part.train_index], part.train_images)
    assert part.files == whole.files and len(whole.files) == 60
    assert all((images / file).is_file() for file in part.files)
    samples = trained(images, test=0.2, image_size=8).samples
    assert samples["file"] == [part.files[row] for row in part.train_index.tolist()] and len(samples["file"]) == 48
    assert all(file.split("/")[0] == name for file, name in zip(samples["file"], samples["given_name"], strict=True))


def test_a_test_set_is_of_the_same_kind(images, tmp_path):
    messages().to_csv(tmp_path / "mail.csv")
    with pytest.raises(InputError, match=r"photos holds image files, and its test set .*mail\.csv a table"):
        load_dataset(f"path:{images}", test=str(tmp_path / "mail.csv"))
    flowers().to_csv(tmp_path / "flowers.csv")
    flowers().drop(columns="width").to_csv(tmp_path / "test.csv")
    with pytest.raises(InputError, match=r"test\.csv has no column 'width'"):
        load_dataset(f"path:{tmp_path / 'flowers.csv'}", label_column="species", test=f"path:{tmp_path / 'test.csv'}")


def test_a_test_set_in_a_file_of_arrays_is_whole_and_the_only_one(tmp_path):
    arrays = {"x": np.random.default_rng(0).normal(size=(8, 2)), "y": np.arange(8) % 2}
    path = tmp_path / "a.npz"
    np.savez(path, **arrays, test_inputs=arrays["x"][:4])
    with pytest.raises(InputError, match=r"a\.npz has test_inputs alone; a test set is test_inputs and test_labels"):
        load_dataset(f"path:{path}")
    np.savez(path, **arrays, test_inputs=arrays["x"][:4], test_labels=arrays["y"][:4])
    assert len(load_dataset(f"path:{path}").test_labels) == 4
    with pytest.raises(InputError, match=r"a\.npz brings a test set, test_inputs; leave out the other one, 0\.5"):
        load_dataset(f"path:{path}", test=0.5)


def test_a_share_may_be_a_word_and_a_path_may_lack_its_prefix(tmp_path, monkeypatch):
    messages().to_csv(tmp_path / "m.csv", index=False)
    for share in (0.25, "0.25"):
        assert len(load_dataset(f"path:{tmp_path / 'm.csv'}", test=share, text_column="text").test_labels) == 30
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"unknown dataset 'm\.csv'; choose one of: .*, path:m\.csv$"):
        load_dataset("m.csv")


def test_a_column_that_tells_samples_apart_is_no_label(tmp_path):
    messages().to_csv(tmp_path / "m.csv", index=False)
    words = r"m\.csv: 120 of 120 labels occur once, '1000' for example: are these classes\?"
    with pytest.raises(InputError, match=words):
        load_dataset(f"path:{tmp_path / 'm.csv'}", label_column="id", text_column="text")


def test_options_that_do_not_fit_the_data_are_refused(images, tmp_path):
    with pytest.raises(InputError, match=r"label_column is for \.csv, .*, not for .*photos"):
        load_dataset(f"path:{images}", label_column="kind")
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=[0, 1, 0, 1])
    with pytest.raises(InputError, match=r"text_column is for \.csv"):
        load_dataset(f"path:{tmp_path / 'a.npz'}", text_column="x")
    for name in ("digits", f"path:{tmp_path / 'a.npz'}"):
        with pytest.raises(InputError, match="image_size is for images that lie in files"):
            load_dataset(name, image_size=16)
    with pytest.raises(InputError, match="own data are named path:FOLDER"):
        load_dataset("path:")


def test_a_mistake_in_a_folder_is_one_line(images, tmp_path):
    (images / "empty").mkdir()
    with pytest.raises(InputError, match=r"no image in .*empty"):
        load_dataset(f"path:{images}")
    (images / "empty" / "1.png").write_bytes(b"not an image")
    (images / "empty" / "2.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"image .*empty/1\.png is missing or broken"):
        load_dataset(f"path:{images}")
    with pytest.raises(InputError, match="has no folders"):
        load_dataset(f"path:{images / 'empty'}")
    with pytest.raises(InputError, match="there is no folder or file"):
        load_dataset(f"path:{tmp_path / 'nowhere'}")
    parts = images.parent / "parts"
    for part in ("train", "Test"):
        shutil.copytree(images / "dark", parts / part / "dark")
    with pytest.raises(InputError, match="holds Test, train: parts of a data set, not classes; name one"):
        load_dataset(f"path:{parts}")
    (tmp_path / "data.xlsx").touch()
    with pytest.raises(InputError, match="neither a folder nor one of"):
        load_dataset(f"path:{tmp_path / 'data.xlsx'}")


@pytest.mark.parametrize("name", [b"caf\xe9/1.png", b"tea/\xe9t\xe9.png", b"tea/\xff/1.png"])
def test_a_name_that_is_not_utf_8_is_refused_and_shown_with_its_bytes(name, images, tmp_path):
    path = images / os.fsdecode(name)
    try:
        path.parent.mkdir(parents=True)
        Image.new("L", (9, 9)).save(path)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with pytest.raises(InputError, match=r"photos/.*\\x.* is not UTF-8; rename it") as caught:
        load_dataset(f"path:{images}")
    assert str(caught.value).isascii()
    table = path.parent / os.fsdecode(b"\xe9.csv")
    messages().to_csv(table, index=False)
    with pytest.raises(InputError, match=r"\\xe9\.csv is not UTF-8; rename it"):
        load_dataset(f"path:{table}", text_column="text")


def test_options_of_own_data_are_for_own_data():
    with pytest.raises(InputError, match="test: only for own data"):
        load_dataset("digits", test=0.2)


def test_a_grid_may_name_own_data(tmp_path):
    messages().to_csv(tmp_path / "mail.csv", index=False)
    values = {"dataset": f"path:{tmp_path / 'mail.csv'}", "data_options": {"text_column": "text"}}
    assert with_overrides(TrainConfig(), values).resolved().network == "mlp"


def test_epochs_of_own_data_are_kept_like_any_other(tmp_path, monkeypatch):
    messages().to_csv(tmp_path / "mail.csv", index=False)
    monkeypatch.setenv(KEPT_EPOCHS, str(tmp_path / "epochs"))
    first, again = (trained(tmp_path / "mail.csv", text_column="text") for _ in "ab")
    assert first.samples == again.samples and list((tmp_path / "epochs").glob("path-*_warmup_001_*.pt"))


# -- features of a known dataset's images


def features_file(path: Path, names: tuple[str, ...]) -> Path:
    """What `nlcore features` writes, 200 training rows and 20 of a test set."""
    labels = np.array([names[k % len(names)] for k in range(220)])
    inputs = np.random.default_rng(0).normal(size=(220, 6)).astype(np.float16)
    np.savez(path, inputs=inputs[:200], labels=labels[:200], test_inputs=inputs[200:], test_labels=labels[200:])
    return path


def test_features_go_by_the_name_of_their_images_and_take_the_noise_made_for_these(tmp_path, monkeypatch):
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path))
    features_file(tmp_path / "cifar10_features.npz", CIFAR10_CLASSES)
    data = load_dataset("cifar10_features")
    assert data.name == "cifar10_features" and data.class_names == CIFAR10_CLASSES and data.holds_vectors
    assert data.train_images.dtype == torch.float16 and len(data.test_labels) == 20
    assert data.train_labels.tolist() == [k % 10 for k in range(200)]
    noisy = corrupt(data, "asymmetric", 0.4, 0)
    wrong = noisy.given_labels != noisy.true_labels
    pairs = set(zip(noisy.true_labels[wrong].tolist(), noisy.given_labels[wrong].tolist(), strict=True))
    assert pairs == {(9, 1), (2, 0), (4, 7), (3, 5), (5, 3)}
    aggre = torch.arange(200) % 7
    torch.save({"clean_label": data.train_labels.numpy(), "aggre_label": aggre.numpy()}, tmp_path / "CIFAR-10_human.pt")
    assert torch.equal(corrupt(data, "human:aggre", None, 0).given_labels, aggre)
    config = TrainConfig(dataset="cifar10_features").resolved()
    assert (config.network, config.epochs, config.batch_size) == ("mlp", 12, 128)


def test_features_that_are_missing_or_of_other_classes_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"make it once, with: nlcore features cifar100 --out .*cifar100_features.npz"):
        load_dataset("cifar100_features")
    features_file(tmp_path / "cifar100_features.npz", CIFAR10_CLASSES)
    with pytest.raises(InputError, match="holds no features of cifar100"):
        load_dataset("cifar100_features")
