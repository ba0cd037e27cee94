"""The data of an audit, and how one sample of them is shown."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from nlcore import InputError
from nlcore.audit.source import read_source


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(256, size=(20, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


def test_a_folder_is_read_with_its_files_as_names_and_pictures_to_show(folder, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path))
    source = read_source(str(folder), {})
    assert source.names[4] == "bee/1.png" and source.dataset.class_names == ("ant", "bee")
    shown = source.sample(4, 0, 0.25, torch.tensor([0, 1, 3]))
    assert shown.picture.shape == (112, 112, 3) and shown.neighbours == ((0, 2), (1, 1))
    assert (shown.given, shown.suggested, shown.quality, shown.name) == (1, 0, 0.25, "bee/1.png")


def test_small_pictures_keep_their_size_and_are_learnt_from_their_pixels(folder, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path))
    for file in folder.rglob("*.png"):
        Image.open(file).resize((28, 28)).save(file)
    source = read_source(str(folder), {})
    assert source.inputs(tmp_path / "work").shape == (6, 3, 28, 28)
    names = [str(file.relative_to(folder)) for file in sorted(folder.rglob("*.png"))]
    frame = pd.DataFrame({"file": names, "label": [name[:3] for name in names]})
    frame.to_csv(folder / "table.csv", index=False)
    source = read_source(str(folder / "table.csv"), {"image_column": "file"})
    assert source.inputs(tmp_path / "work").shape == (6, 3, 28, 28)


def test_pictures_become_features_once(folder, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path))
    source = read_source(str(folder), {})
    features = source.inputs(tmp_path / "work")
    assert features.shape == (6, 1280)
    (kept,) = (tmp_path / "work").glob("features_*.npz")
    written = kept.stat().st_mtime_ns
    assert torch.equal(source.inputs(tmp_path / "work"), features) and kept.stat().st_mtime_ns == written


def test_a_row_of_a_table_shows_its_most_unusual_values_in_its_class(tmp_path) -> None:
    frame = pd.DataFrame({"height": [1.0, 2, 3, 2, 30], "weight": [5.0, 6, 5, 6, 5.5], "label": list("aaaba")})
    frame.loc[len(frame)] = [2.0, 6.5, "b"]
    frame.to_csv(tmp_path / "table.csv", index=False)
    source = read_source(str(tmp_path / "table.csv"), {})
    (name, value, z), *_ = source.sample(4, 1, 0.1, torch.tensor([0])).values
    heights = np.array([1.0, 2, 3, 30])
    assert (name, value) == ("height", 30.0) and z == pytest.approx((30 - heights.mean()) / heights.std(), abs=1e-4)
    assert source.names[4] == "row 4"


def test_a_text_is_shown_as_it_is_written(tmp_path) -> None:
    texts = [f"{'sun' if k % 2 else 'rain'} all day {k}" for k in range(40)]
    pd.DataFrame({"words": texts, "kind": ["dry" if k % 2 else "wet" for k in range(40)]}).to_csv(
        tmp_path / "table.csv", index=False
    )
    source = read_source(f"path:{tmp_path / 'table.csv'}", {"label_column": "kind", "text_column": "words"})
    assert source.sample(7, 0, 0.5, torch.tensor([1])).text == "sun all day 7"


def test_columns_that_nothing_is_learnt_from_are_a_concern(tmp_path) -> None:
    frame = pd.DataFrame({"id": range(6), "height": range(6), "note": list("uvwxyz"), "label": list("ababab")})
    frame.to_csv(tmp_path / "table.csv", index=False)
    (sentence,) = read_source(str(tmp_path / "table.csv"), {}).concerns(torch.ones(6))
    assert "not numbers: note. --text-column" in sentence
    frame.drop(columns="note").to_csv(tmp_path / "table.csv", index=False)
    assert read_source(str(tmp_path / "table.csv"), {}).concerns(torch.ones(6)) == []


def test_two_languages_in_one_column_are_a_concern(tmp_path) -> None:
    rng = np.random.default_rng(0)
    english, german = "the cat of a man is in that old house", "die katze und der hund sind nicht mit ihm zuhause"
    words = [(german if k % 4 == 0 else english).split() for k in range(200)]
    texts = [" ".join(rng.choice(choice, 8)) for choice in words]
    for shown, there in ((texts, True), ([t for k, t in enumerate(texts) if k % 4], False)):
        frame = pd.DataFrame({"words": shown, "label": ["ab"[k % 2] for k in range(len(shown))]})
        frame.to_csv(tmp_path / "table.csv", index=False)
        source = read_source(str(tmp_path / "table.csv"), {"text_column": "words"})
        found = source.concerns(torch.ones(len(shown)))
        assert len(found) == there
        assert not there or "25% and 75%" in found[0]


def test_a_data_set_of_the_package_goes_by_its_name() -> None:
    source = read_source("glyphs", {})
    assert source.title == "glyphs" and source.sample(0, 1, 0.5, torch.tensor([1])).picture.shape == (16, 16)


def test_the_digest_changes_with_a_label_and_with_a_sample(tmp_path) -> None:
    inputs, labels = np.zeros((6, 2), dtype=np.float32), np.array([0, 1, 0, 1, 0, 1])
    digests = set()
    for change in (None, "label", "sample"):
        labels[0] = change == "label"
        inputs[0] = change == "sample"
        np.savez(tmp_path / "data.npz", inputs=inputs, labels=labels)
        digests.add(read_source(str(tmp_path / "data.npz"), {}).digest)
    assert len(digests) == 3


def test_what_does_not_exist_is_one_line() -> None:
    with pytest.raises(InputError, match="there is no folder or file"):
        read_source("no_such_place", {})
