"""A result and a checkpoint know the files that they were made from, by content."""

import shutil

import numpy as np
import pytest
from PIL import Image

from nlcore import InputError, TrainConfig, train
from nlcore.basics.errors import Paused
from nlcore.training.origins import changed_origins, origins
from nlcore.training.result import check_output_folder


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    """A short run on vectors with their labels beside them, and labels in a file of their own."""
    vectors = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    np.save(tmp_path / "v_labels.npy", np.arange(40) % 2)
    np.savez(tmp_path / "test.npz", x=vectors[:4], y=[0, 1, 0, 1])
    (tmp_path / "noisy.csv").write_text("label\n" + "0\n1\n" * 20)
    options = {"test": str(tmp_path / "test.npz")}
    names = {
        "dataset": f"path:{tmp_path / 'v.npy'}",
        "data_options": options,
        "noise": f"file:{tmp_path / 'noisy.csv'}",
    }
    return TrainConfig(**names, method="ce", epochs=2, threads=1)


def change(tmp_path, what: str) -> None:
    if what == "label file":
        (tmp_path / "noisy.csv").write_text("label\n" + "1\n0\n" * 20)
    elif what == "test set":
        np.savez(tmp_path / "test.npz", x=np.ones((4, 3)), y=[0, 1, 0, 1])
    else:
        np.save(tmp_path / what, np.load(tmp_path / what)[::-1])


def test_every_file_that_a_run_names_is_known_and_a_copy_of_it_is_the_same(config, tmp_path):
    assert set(origins(config)) == {"data", "test set", "label file"}
    copies = tmp_path / "clone"
    copies.mkdir()
    for file in tmp_path.glob("*.*"):
        shutil.copyfile(file, copies / file.name)  # with times of its own
    options = {"test": f"path:{copies / 'test.npz'}"}
    names = {"dataset": f"path:{copies / 'v.npy'}", "data_options": options, "noise": f"file:{copies / 'noisy.csv'}"}
    assert origins(TrainConfig(**names)) == origins(config)


@pytest.mark.parametrize(
    ("what", "changed"),
    [("v.npy", "data"), ("v_labels.npy", "data"), ("test set", "test set"), ("label file", "label file")],
)
def test_a_finished_result_of_other_files_is_not_taken_for_the_run(config, tmp_path, what, changed):
    result = train(config)
    result.save(tmp_path / "run")
    check_output_folder(tmp_path / "run", config)
    change(tmp_path, what)
    assert changed_origins(result.to_dict(), config) == [changed]
    with pytest.raises(InputError, match=rf"holds this run of other files \(changed: {changed}\); choose another"):
        check_output_folder(tmp_path / "run", config)


def test_a_stopped_run_does_not_go_on_with_other_vectors_under_the_same_labels(config, tmp_path):
    with pytest.raises(Paused):
        train(config, folder=tmp_path / "run", time_budget=0)
    change(tmp_path, "v.npy")
    with pytest.raises(InputError, match="a checkpoint of other data or labels"):
        train(config, folder=tmp_path / "run")


def test_images_go_by_name_and_size(tmp_path):
    for number in range(4):
        (tmp_path / "photos" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(
            tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        )
    config = TrainConfig(dataset=f"path:{tmp_path / 'photos'}")
    before = origins(config)
    (tmp_path / "photos" / "a" / "notes.txt").write_text("no image")
    assert origins(config) == before
    (tmp_path / "photos" / "a" / "0.png").rename(tmp_path / "photos" / "b" / "0.png")
    assert origins(config) != before


def test_bundled_data_have_no_files_and_missing_ones_and_old_results_say_nothing(config, tmp_path):
    assert origins(TrainConfig()) == origins(TrainConfig(noise="file:nowhere.csv")) == {}
    stored = {"origins": origins(config)}
    (tmp_path / "noisy.csv").unlink()
    assert changed_origins(stored, config) == changed_origins({}, config) == []
