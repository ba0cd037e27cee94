"""What the formats of label files hold; that none of them runs code is in `test_label_files.py`, but for `.npy`."""

import gzip
import json
import os
import pickle

import numpy as np
import pytest

from nlcore import InputError
from nlcore.noise.label_formats import read_contents


class Runs:
    """Pickles to a call of `os.system` that leaves a marker."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def save_object(path, held) -> None:
    array = np.empty((), object)
    array[()] = held
    np.save(path, array, allow_pickle=True)


def read_error(path) -> str:
    with pytest.raises(InputError) as error:
        read_contents(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    return str(error.value)


TABLES = {
    "a.csv": "index,label\n1,3\n0,5\n",
    "a.tsv": "index\tlabel\n1\t3\n0\t5\n",
    "a.json": '{"index": [1, 0], "label": [3, 5], "about": "made"}',
}


@pytest.mark.parametrize("name", [*TABLES, *(f"{name}.gz" for name in TABLES), "a.CSV.GZ"])
def test_tables_are_read_by_their_columns_packed_or_not(tmp_path, name):
    text = TABLES[name.lower().removesuffix(".gz")].encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.lower().endswith("gz") else text)
    arrays = read_contents(tmp_path / name).arrays
    assert arrays["index"].tolist() == [1, 0] and arrays["label"].tolist() == [3, 5]


@pytest.mark.parametrize(("name", "text"), [("a.json", "[3, 5, 1]"), ("a.txt", "3\n5\n1\n"), ("a.txt", "3\r\n5\r\n1")])
def test_a_list_of_labels_is_an_array_without_a_name(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert {key: array.tolist() for key, array in read_contents(tmp_path / name).arrays.items()} == {"": [3, 5, 1]}


def test_a_line_of_text_is_one_label_whatever_signs_it_holds(tmp_path):
    (tmp_path / "a.txt").write_text('label\nguinea pig\nrock, paper\n6" pipe\n')
    assert read_contents(tmp_path / "a.txt").arrays["label"].tolist() == ["guinea pig", "rock, paper", '6" pipe']


def test_a_first_line_with_the_name_of_a_class_is_no_header(tmp_path):
    (tmp_path / "a.txt").write_text("cat\ndog\n")
    assert read_contents(tmp_path / "a.txt").arrays["cat"].tolist() == ["dog"]
    assert read_contents(tmp_path / "a.txt", ("cat", "dog")).arrays[""].tolist() == ["cat", "dog"]


def test_a_number_that_is_the_name_of_a_class_is_a_header_beside_a_blank_one(tmp_path):
    (tmp_path / "a.csv").write_text(",0\n1,3\n0,5\n")  # as pandas writes a series
    assert read_contents(tmp_path / "a.csv", tuple("0123456789")).arrays["0"].tolist() == [3, 5]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.json", "a.json.gz"])
def test_damage_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b'{"label": [3, ')
    assert "damaged or no label file" in read_error(tmp_path / name)


# --- Dictionaries in .npy files, as CIFAR-N's ---


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_dictionary_that_numpy_saved_is_read(tmp_path, protocol):
    sets = {"clean_label": np.arange(5), "worse_label": np.array([3, 1, 2, 2, 0], np.uint8), "about": "made"}
    save_object(tmp_path / "CIFAR-10_human_ordered.npy", sets)
    content = (tmp_path / "CIFAR-10_human_ordered.npy").read_bytes()
    array = np.load(tmp_path / "CIFAR-10_human_ordered.npy", allow_pickle=True)
    pickled = content[: content.index(b"\n") + 1] + pickle.dumps(array, protocol)
    (tmp_path / "CIFAR-10_human_ordered.npy").write_bytes(pickled)
    arrays = read_contents(tmp_path / "CIFAR-10_human_ordered.npy").arrays
    assert arrays["worse_label"].tolist() == [3, 1, 2, 2, 0] and arrays["clean_label"].tolist() == [0, 1, 2, 3, 4]


def test_an_array_of_names_that_numpy_saved_as_objects_is_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array(["cat", "dog"], object), allow_pickle=True)
    assert read_contents(tmp_path / "a.npy").arrays[""].tolist() == ["cat", "dog"]


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"noisy_label": np.arange(3), "x": x}, lambda x: [x]])
def test_an_object_that_numpy_saved_and_that_calls_a_function_is_not_opened(tmp_path, wrap):
    save_object(tmp_path / "evil.npy", wrap(Runs(tmp_path / "marker")))
    assert f"holds more than labels ({os.system.__module__}.system)" in read_error(tmp_path / "evil.npy")
    assert not (tmp_path / "marker").exists()


def test_the_marker_of_this_attack_does_appear_when_the_file_is_trusted(tmp_path):
    save_object(tmp_path / "evil.npy", Runs(tmp_path / "marker"))
    np.load(tmp_path / "evil.npy", allow_pickle=True)
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("dtype", ["O", "i8,O", "O8"])
def test_bytes_that_pose_as_python_objects_are_refused(tmp_path, dtype):
    save_object(tmp_path / "a.npy", {"noisy": np.full(2, 0x41414141)})
    content = (tmp_path / "a.npy").read_bytes()
    wanted = b"\x8c\x02i8"
    assert wanted in content
    start = content.index(b"\n") + 1
    pickled = content[start:].replace(wanted, bytes([0x8C, len(dtype)]) + dtype.encode())
    frame = pickled.index(b"\x95")  # the length of protocol 4's frame is no longer true: leave it out
    (tmp_path / "a.npy").write_bytes(content[:start] + pickled[:frame] + pickled[frame + 9 :])
    assert "damaged" in read_error(tmp_path / "a.npy")


def test_votes_in_columns_are_read_in_the_order_of_numpy_s_columns_too(tmp_path):
    votes = np.asfortranarray(np.arange(6).reshape(3, 2))
    save_object(tmp_path / "a.npy", {"votes": votes})
    assert read_contents(tmp_path / "a.npy").arrays["votes"].tolist() == votes.tolist()


def test_a_json_dictionary_of_lists_knows_its_names(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"noisy": ["cat"], "rate": 0.4}))
    assert read_contents(tmp_path / "a.json").arrays["noisy"].tolist() == ["cat"]
