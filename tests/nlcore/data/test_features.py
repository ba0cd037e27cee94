"""Features of images in a file: whole, in order, and gone on with where they were stopped."""

import sys

import numpy as np
import pytest
import torch

from nlcore import Dataset, InputError, cli, load_dataset
from nlcore.data import features
from nlcore.data.features import extract_features


@pytest.fixture
def data(rng) -> Dataset:
    images = torch.randint(0, 256, (30, 3, 4, 4), dtype=torch.uint8, generator=rng)
    return Dataset("made", images[:20], torch.arange(20) % 2, images[20:], torch.arange(10) % 2, ("cat", "dog"))


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """A network that gives mean and first pixel, in passes of 8 images whose sizes are noted."""
    sizes = []

    def network(images):
        sizes.append(len(images))
        return torch.stack([images.float().mean((1, 2, 3)), images[:, 0, 0, 0].float()], 1)

    monkeypatch.setattr(features, "load_backbone", lambda name, size: network)
    monkeypatch.setattr(features, "AT_ONCE", 8)
    return sizes


def test_every_image_has_its_features_in_order_and_own_data_reads_them(data, passes, tmp_path):
    assert extract_features(data, tmp_path / "out" / "made.npz") == 2
    read = load_dataset(f"path:{tmp_path / 'out' / 'made.npz'}")
    for split in ("train", "test"):
        images, vectors = getattr(data, f"{split}_images"), getattr(read, f"{split}_images")
        assert vectors.dtype == torch.float16 and vectors[:, 1].tolist() == images[:, 0, 0, 0].tolist()
        assert torch.equal(getattr(read, f"{split}_labels"), getattr(data, f"{split}_labels"))
    assert read.class_names == ("cat", "dog")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["made.npz"]


def test_what_was_stopped_goes_on_and_other_images_begin_anew(data, passes, tmp_path, monkeypatch):
    def stop():
        if len(passes) == 3:  # one to see the size, two of work
            raise KeyboardInterrupt

    monkeypatch.setattr(features, "beat", stop)
    with pytest.raises(KeyboardInterrupt):
        extract_features(data, tmp_path / "made.npz")
    monkeypatch.undo()
    assert not (tmp_path / "made.npz").exists()
    seen = []
    monkeypatch.setattr(features, "AT_ONCE", 8)
    monkeypatch.setattr(
        features,
        "load_backbone",
        lambda *a: lambda images: seen.append(len(images)) or images.float().mean((2, 3))[:, :2],
    )
    extract_features(data, tmp_path / "made.npz")
    assert sum(seen) == 1 + 30 - 16
    with np.load(tmp_path / "made.npz") as archive:
        assert archive["inputs"].shape == (20, 2) and np.isfinite(archive["inputs"]).all()


def test_a_file_that_is_there_vectors_and_a_wrong_suffix_are_refused(data, passes, tmp_path):
    (tmp_path / "there.npz").touch()
    with pytest.raises(InputError, match="exists already"):
        extract_features(data, tmp_path / "there.npz")
    with pytest.raises(InputError, match=r"must end in \.npz"):
        extract_features(data, tmp_path / "features.csv")
    extract_features(data, tmp_path / "a.npz")
    with pytest.raises(InputError, match="holds vectors already"):
        extract_features(load_dataset(f"path:{tmp_path / 'a.npz'}"), tmp_path / "b.npz")


def test_own_files_are_decoded_at_the_size_that_the_network_sees(tmp_path, monkeypatch):
    seen = []

    def load(name, **options):
        seen.append((name, options))
        raise InputError("seen enough")

    monkeypatch.setattr(cli, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    np.savez("photos.npz", x=np.zeros((4, 8, 8), np.uint8), y=np.arange(4) % 2)
    for name in ("path:photos", "path:photos.npz", "cifar10"):
        monkeypatch.setattr(sys, "argv", ["nlcore", "features", name, "--size", "96", "--out", str(tmp_path / "a.npz")])
        with pytest.raises(SystemExit):
            cli.main()
    assert seen == [("path:photos", {"image_size": 96}), ("path:photos.npz", {}), ("cifar10", {})]
