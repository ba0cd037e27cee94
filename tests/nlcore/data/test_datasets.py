from dataclasses import replace

import numpy as np
import pytest
import torch

from nlcore import Dataset, InputError, load_dataset
from nlcore.data.checks import check_labels
from nlcore.data.cifar_classes import CIFAR100_SUPERCLASS
from nlcore.data.datasets import balanced_sample, rank_in_class


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def made_arrays(train=40, test=20):
    g = np.random.default_rng(0)
    return {
        "x_train": g.integers(0, 256, (train, 32, 32, 3), dtype=np.uint8),
        "y_train": np.arange(train) % 10,
        "x_test": g.integers(0, 256, (test, 32, 32, 3), dtype=np.uint8),
        "y_test": np.arange(test) % 10,
    }


def write_cache(root, **changes):
    arrays = made_arrays() | changes
    np.savez(root / "cifar10.npz", **{key: value for key, value in arrays.items() if value is not None})
    return root / "cifar10.npz"


def load_error(root) -> str:
    with pytest.raises(InputError) as error:
        load_dataset("cifar10", root)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_digits_are_uint8_images_with_a_channel_and_int64_labels(digits):
    assert digits.train_images.shape == (1347, 1, 8, 8) and digits.test_images.shape == (450, 1, 8, 8)
    assert digits.train_images.dtype == torch.uint8 and digits.train_labels.dtype == torch.int64
    assert digits.train_images.max() == 255 and digits.train_images.min() == 0
    assert digits.class_names == tuple("0123456789") and digits.num_classes == 10


def test_digits_are_always_split_the_same_way_with_every_class_in_proportion(digits):
    again = load_dataset("digits")
    assert torch.equal(digits.test_images, again.test_images) and torch.equal(digits.train_labels, again.train_labels)
    everything = torch.bincount(torch.cat([digits.train_labels, digits.test_labels]))
    assert (torch.bincount(digits.test_labels) - everything * 450 / 1797).abs().max() < 1


def test_both_splits_together_are_every_bundled_digit_once(digits):
    from sklearn.datasets import load_digits

    both = torch.cat([digits.train_images, digits.test_images]).flatten(1)
    whole = torch.from_numpy(np.rint(load_digits().data * (255 / 16)).astype(np.uint8))
    assert sorted(map(bytes, both.numpy())) == sorted(map(bytes, whole.numpy()))


def test_a_present_cache_file_is_used_as_it_is_with_channels_first(tmp_path):
    arrays = made_arrays()
    write_cache(tmp_path)
    dataset = load_dataset("cifar10", tmp_path)
    assert dataset.train_images.shape == (40, 3, 32, 32) and dataset.train_images.dtype == torch.uint8
    assert dataset.train_images[7, 2, 3, 4] == arrays["x_train"][7, 3, 4, 2]
    assert dataset.train_labels.tolist() == arrays["y_train"].tolist() and dataset.class_names[9] == "truck"


def test_the_default_root_is_the_environment_variable(tmp_path, monkeypatch):
    write_cache(tmp_path)
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path))
    assert len(load_dataset("cifar10").train_labels) == 40


def test_a_tilde_in_a_root_is_the_home_folder(tmp_path, monkeypatch):
    write_cache(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NLCORE_DATA", "~")
    assert len(load_dataset("cifar10").train_labels) == len(load_dataset("cifar10", "~").train_labels) == 40


def test_a_truncated_cache_file_is_named_as_damaged(tmp_path):
    path = write_cache(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    assert str(path) in load_error(tmp_path) and "damaged" in load_error(tmp_path)


def test_a_cache_file_with_flipped_bytes_is_named_as_damaged(tmp_path):
    path = write_cache(tmp_path)
    content = bytearray(path.read_bytes())
    content[5000:5100] = bytes(255 - b for b in content[5000:5100])
    path.write_bytes(content)
    assert "damaged" in load_error(tmp_path)


def test_a_cache_file_that_is_no_archive_is_named_as_damaged(tmp_path):
    (tmp_path / "cifar10.npz").write_text("not found")
    assert "damaged" in load_error(tmp_path)


def test_a_cache_file_without_one_of_its_arrays_says_which(tmp_path):
    write_cache(tmp_path, y_test=None)
    assert "y_test" in load_error(tmp_path) and "damaged" in load_error(tmp_path)


def test_labels_of_the_wrong_length_are_refused(tmp_path):
    write_cache(tmp_path, y_train=np.arange(39) % 10)
    message = load_error(tmp_path)
    assert "39" in message and "40" in message and "train labels" in message


def test_labels_out_of_range_are_refused_with_the_first_bad_one(tmp_path):
    labels = np.arange(40) % 10
    labels[13] = 10
    write_cache(tmp_path, y_train=labels)
    message = load_error(tmp_path)
    assert "[0, 10)" in message and "label 10 at index 13" in message


def test_images_with_nan_are_refused_with_the_first_bad_one(tmp_path):
    images = np.zeros((40, 32, 32, 3), dtype=np.float32)
    images[6, 1, 2, 0] = np.nan
    write_cache(tmp_path, x_train=images)
    message = load_error(tmp_path)
    assert "NaN" in message and "image 6" in message


def test_float_images_are_refused_even_without_nan(tmp_path):
    write_cache(tmp_path, x_test=np.zeros((20, 32, 32, 3), dtype=np.float32))
    assert "uint8" in load_error(tmp_path) and "test" in load_error(tmp_path)


def test_a_class_without_a_training_image_is_named(tmp_path):
    write_cache(tmp_path, y_train=np.arange(40) % 9)
    assert "truck" in load_error(tmp_path)


def test_labels_that_are_not_int64_are_refused():
    with pytest.raises(InputError, match="int64"):
        check_labels(torch.zeros(3), 3, 2, "made")


def test_an_unknown_name_lists_the_valid_ones():
    with pytest.raises(InputError, match=r"'mnist'.*digits, glyphs, cifar10, cifar100"):
        load_dataset("mnist")


def test_without_a_network_one_line_says_so_and_nothing_half_written_stays(tmp_path, monkeypatch):
    from torchvision import datasets

    def refuse(self, root, train=True, download=False):
        (tmp_path / root / "half-a-download.tar.gz").write_bytes(b"...")
        raise OSError("network is unreachable\nsecond line")

    monkeypatch.setattr(datasets.CIFAR10, "__init__", refuse)
    message = load_error(tmp_path / "cache")
    assert "could not be downloaded" in message and "network is unreachable" in message
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_download_is_kept_as_one_file_and_used_from_then_on(tmp_path, monkeypatch):
    from torchvision import datasets

    downloads = []

    def pretend(self, root, train=True, download=False):
        downloads.append(train)
        arrays = made_arrays()
        split = "train" if train else "test"
        self.data, self.targets = arrays[f"x_{split}"], arrays[f"y_{split}"].tolist()

    monkeypatch.setattr(datasets.CIFAR10, "__init__", pretend)
    first, second = load_dataset("cifar10", tmp_path), load_dataset("cifar10", tmp_path)
    assert sorted(downloads) == [False, True]
    assert [path.name for path in tmp_path.iterdir()] == ["cifar10.npz"]
    assert torch.equal(first.train_images, second.train_images)


def test_a_subset_holds_the_same_share_of_every_class_and_keeps_the_test_set(digits):
    subset = digits.subset(300)
    counts = torch.bincount(subset.train_labels, minlength=10)
    expected = torch.bincount(digits.train_labels) * 300 / 1347
    assert counts.sum() == 300 and (counts - expected).abs().max() <= 1
    assert torch.equal(subset.test_images, digits.test_images)


def test_a_subset_keeps_images_and_labels_together_and_depends_on_its_seed(digits):
    rows = zip(digits.train_images, digits.train_labels, strict=True)
    known = {bytes(image.numpy()): int(label) for image, label in rows}
    subset = digits.subset(50, seed=1)
    assert all(
        known[bytes(image.numpy())] == label
        for image, label in zip(subset.train_images, subset.train_labels.tolist(), strict=True)
    )
    assert torch.equal(subset.train_images, digits.subset(50, seed=1).train_images)
    assert not torch.equal(subset.train_images, digits.subset(50, seed=2).train_images)


def test_a_subset_refuses_a_seed_that_repeats_another(digits):
    with pytest.raises(InputError, match="seed must lie in"):
        digits.subset(50, seed=2**32)


@pytest.mark.parametrize("n", [9, 1348])
def test_a_subset_too_small_for_every_class_or_larger_than_the_data_is_refused(digits, n):
    with pytest.raises(InputError, match="10 to 1347"):
        digits.subset(n)


def test_channel_statistics_are_those_of_the_pixels_as_floats(tmp_path):
    write_cache(tmp_path)
    dataset = load_dataset("cifar10", tmp_path)
    pixels = dataset.train_images.double() / 255
    mean, std = dataset.channel_statistics()
    torch.testing.assert_close(mean.double(), pixels.mean((0, 2, 3)), atol=1e-6, rtol=0)
    torch.testing.assert_close(std.double(), pixels.std((0, 2, 3), correction=0), atol=1e-6, rtol=0)


def test_an_own_dataset_is_checked_too():
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(InputError, match="no sample of class dog"):
        Dataset("own", images, torch.zeros(4, dtype=torch.int64), images[:1], torch.tensor([1]), ("cat", "dog"))


def made(**changes) -> Dataset:
    """Four training and two test images of a cat and a dog."""
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    values = {"train_images": images, "train_labels": torch.tensor([0, 1, 0, 1]), "class_names": ("cat", "dog")}
    values |= {"test_images": images[:2], "test_labels": torch.tensor([0, 1])}
    return Dataset("own", **values | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_images": torch.zeros(4, 8, 8, 1, dtype=torch.uint8)}, r"own train images .*channels last"),
        ({"test_images": torch.zeros(2, 8, 8, 3, dtype=torch.uint8)}, r"own test images .*channels last"),
        ({"train_images": torch.zeros(4, 32, 32, 4, dtype=torch.uint8)}, r"permute\(0, 3, 1, 2\)"),
        ({"test_images": torch.zeros(2, 1, 8, 9, dtype=torch.uint8)}, r"test images are \(1, 8, 9\), .*\(1, 8, 8\)"),
        ({"test_images": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)}, r"test images are \(3, 8, 8\)"),
        ({"train_index": torch.tensor([0, 1, 1, 2])}, "different rows of 0 to 3"),
        ({"train_index": torch.tensor([-1, 1, 2, 3])}, "different rows of 0 to 3"),
        ({"train_index": torch.tensor([4, 5, 6, 7])}, "different rows of 0 to 3.*full_size"),
        ({"class_names": ("cat", "cat")}, "two classes called 'cat'"),
        ({"class_names": ("cat",), "train_labels": [0] * 4, "test_labels": [0, 0]}, "own has 1 class"),
        ({"train_labels": np.array([0.0, 1.0, 0.0, 1.0])}, "int64"),
        ({"train_labels": ["cat", "dog", "cat", "dog"]}, "must be an array of numbers"),
        (
            {"train_images": [np.zeros((1, 8, 8), np.uint8), np.zeros((1, 9, 9), np.uint8)]},
            "must be an array of numbers",
        ),
    ],
)
def test_what_no_training_could_use_is_refused_in_one_line(changes, words):
    with pytest.raises(InputError, match=words) as error:
        made(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_arrays_and_lists_become_tensors(dtype):
    images, labels = np.arange(4 * 64, dtype=np.uint8).reshape(4, 1, 8, 8), np.array([0, 1, 0, 1], dtype)
    dataset = made(train_images=images, train_labels=labels, test_images=list(images[:2]), test_labels=[0, 1])
    assert dataset.train_images.tolist() == images.tolist() and dataset.test_images.shape == (2, 1, 8, 8)
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == dataset.train_index.dtype == torch.int64
    assert made(class_names=["cat", "dog"]).class_names == ("cat", "dog")


def test_a_cache_file_with_channels_first_is_refused(tmp_path):
    write_cache(tmp_path, x_train=made_arrays()["x_train"].transpose(0, 3, 1, 2))
    assert "x_train is (40, 3, 32, 32), not (N, 32, 32, 3)" in load_error(tmp_path)


def test_a_subset_knows_its_rows_in_the_whole_training_set_also_a_subset_of_a_subset(digits):
    subset = digits.subset(300)
    assert digits.train_index.tolist() == list(range(1347))
    assert torch.equal(digits.train_images[subset.train_index], subset.train_images)
    again = subset.subset(100)
    assert torch.equal(digits.train_labels[again.train_index], again.train_labels)
    assert again.full_size == subset.full_size == digits.full_size == 1347


def test_a_row_number_for_every_image_is_required(digits):
    with pytest.raises(InputError, match="train_index"):
        Dataset(
            "own",
            digits.train_images,
            digits.train_labels,
            digits.test_images,
            digits.test_labels,
            digits.class_names,
            train_index=torch.arange(5),
        )


def test_superclasses_are_those_of_the_fine_labels_with_the_same_images(tmp_path):
    arrays = made_arrays(200, 100) | {"y_train": np.arange(200) % 100, "y_test": np.arange(100)}
    np.savez(tmp_path / "cifar100.npz", **arrays)
    fine, coarse = load_dataset("cifar100", tmp_path), load_dataset("cifar100_coarse", tmp_path)
    assert coarse.num_classes == 20 and coarse.name == "cifar100_coarse"
    assert coarse.train_labels.tolist() == [CIFAR100_SUPERCLASS[c] for c in fine.train_labels]
    by_name = dict(zip(fine.class_names, (coarse.class_names[c] for c in coarse.test_labels), strict=True))
    assert by_name["beaver"] == "aquatic_mammals" and by_name["wolf"] == "large_carnivores"
    assert torch.equal(fine.train_images, coarse.train_images)


def test_statistics_that_are_known_are_taken_as_they_are(digits):
    known = (torch.tensor([0.25]), torch.tensor([0.5]))
    assert replace(digits, statistics=known).channel_statistics() is known


def test_statistics_are_counted_in_parts_with_the_same_result(digits, monkeypatch):
    whole = digits.channel_statistics()
    monkeypatch.setattr("nlcore.data.datasets.STATISTICS_BATCH", 100)
    assert all(torch.equal(a, b) for a, b in zip(whole, digits.channel_statistics(), strict=True))


def test_rank_in_class_counts_inside_each_label_and_keeps_ties_in_order():
    values, labels = torch.tensor([3.0, 1.0, 1.0, 2.0, 0.0]), torch.tensor([0, 0, 0, 1, 1])
    assert rank_in_class(values, labels, 2).tolist() == [2, 0, 1, 1, 0]


def test_a_balanced_sample_has_as_many_of_every_label_and_no_row_twice():
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 30)
    rows = balanced_sample(labels, 3, 45, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[rows]).tolist() == [15, 15, 15]
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_a_rare_label_gives_all_it_has_and_is_not_made_up_for():
    labels = torch.tensor([0] * 50 + [1] * 4 + [2] * 30)
    rows = balanced_sample(labels, 3, 45, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[rows]).tolist() == [15, 4, 15]


def test_another_generator_draws_another_balanced_sample():
    labels = torch.arange(300) % 3
    first, second = (balanced_sample(labels, 3, 30, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert not torch.equal(first, second)


def test_a_dataset_in_a_folder_is_loaded_by_its_name(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for split, n in (("training", 20), ("testing", 10)):
        folder = tmp_path / "Animal-10N" / split
        folder.mkdir(parents=True)
        for i in range(n):
            Image.new("RGB", (64, 64), (i, 2 * i, 3 * i)).save(folder / f"{i % 10}_{i}.jpg")
    dataset = load_dataset("animal10n", tmp_path)
    assert dataset.name == "animal10n" and dataset.num_classes == 10 and dataset.class_names[9] == "guinea pig"
    assert dataset.train_images.shape == (20, 3, 64, 64) and dataset.statistics is not None
    smaller = load_dataset("animal10n", tmp_path, image_size=16)
    assert smaller.test_images.shape == (10, 3, 16, 16)
