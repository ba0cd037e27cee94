import hashlib
import pickle
import re
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from nlcore import InputError
from nlcore.noise.label_files import HUMAN_FILES, HUMAN_LABELS, find_label_file, read_label_file

MILLION = 1_000_000


def made_labels(n=60, seed=0, classes=10):
    return np.random.default_rng(seed).integers(0, classes, n)


def write(path, text) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def write_pt(path, held, legacy=False) -> Path:
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)
    return path


def write_pickle(path, pickled, zipped=True) -> Path:
    """`pickled` as torch wraps it, in today's zip or in the format before it."""
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
            archive.writestr("archive/version", "3\n")
        return path
    head = (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {"little_endian": True})
    return write(path, b"".join(pickle.dumps(part, 2) for part in head) + pickled + pickle.dumps([], 2))


def cifar10n(n=60) -> dict:
    names = ["clean_label", *HUMAN_LABELS["cifar10"].values()]
    return {name: made_labels(n, seed) for seed, name in enumerate(names)}


def cifar100n(n=60) -> dict:
    labels = {name: made_labels(n, seed, 100) for seed, name in enumerate(("clean_label", "noisy_label"))}
    coarse = {name: made_labels(n, 5, 20).tolist() for name in ("noisy_coarse_label", "clean_coarse_label")}
    return labels | coarse | {"noisy_coarse_label": made_labels(n, 6, 20).tolist()}


def read_error(path, key=None, **options) -> str:
    with pytest.raises(InputError) as error:
        read_label_file(path, key, **options)
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


class Runs:
    """Pickles to a call of `os.system` that leaves a marker."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.marker}",)


class Evaluates(Runs):
    def __reduce__(self):
        return eval, (f"__import__('pathlib').Path({str(self.marker)!r}).touch()",)


class ReadsThroughNumpy(Runs):
    """Loads a pickled array from a second file, by a function that belongs to numpy."""

    def __reduce__(self):
        second = self.marker.with_suffix(".second")
        second.write_bytes(pickle.dumps(Runs(self.marker)))
        return np.load, (str(second), None, True)


def object_array(held) -> np.ndarray:
    array = np.empty(1, object)
    array[0] = held
    return array


# --- .pt ---


@pytest.mark.parametrize(("name", "key"), HUMAN_LABELS["cifar10"].items())
def test_every_human_label_set_of_cifar10_is_read_with_its_true_labels(tmp_path, name, key):
    made = cifar10n()
    file = read_label_file(write_pt(tmp_path / HUMAN_FILES["cifar10"], made), key)
    assert file.given_labels.dtype == torch.int64 and file.given_labels.tolist() == made[key].tolist()
    assert file.true_labels.tolist() == made["clean_label"].tolist()
    assert file.key == key and file.index is None


def test_the_fine_labels_of_cifar100_come_with_fine_true_labels(tmp_path):
    made = cifar100n()
    file = read_label_file(write_pt(tmp_path / HUMAN_FILES["cifar100"], made), HUMAN_LABELS["cifar100"]["fine"])
    assert file.given_labels.tolist() == made["noisy_label"].tolist()
    assert file.true_labels.tolist() == made["clean_label"].tolist()


def test_the_coarse_labels_of_cifar100_are_lists_and_come_with_coarse_true_labels(tmp_path):
    made = cifar100n()
    key = HUMAN_LABELS["cifar100_coarse"]["coarse"]
    file = read_label_file(write_pt(tmp_path / HUMAN_FILES["cifar100_coarse"], made), key)
    assert file.given_labels.tolist() == made["noisy_coarse_label"] and file.given_labels.dtype == torch.int64
    assert file.true_labels.tolist() == made["clean_coarse_label"]


def test_a_pickle_of_numpy_1_is_read_like_one_of_numpy_2(tmp_path):
    old = pickle.dumps(made_labels(), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in old
    assert read_label_file(write_pickle(tmp_path / "a.pt", old)).given_labels.tolist() == made_labels().tolist()
    new = old.replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    assert read_label_file(write_pickle(tmp_path / "b.pt", new)).given_labels.tolist() == made_labels().tolist()


def test_tensors_in_the_legacy_format_need_no_key_beside_true_labels(tmp_path):
    given, true = torch.from_numpy(made_labels(seed=1)), torch.from_numpy(made_labels(seed=2))
    path = write_pt(tmp_path / "cal.pt", {"noise_label_train": given, "clean_label_train": true}, legacy=True)
    assert not zipfile.is_zipfile(path)
    file = read_label_file(path)
    assert file.key == "noise_label_train"
    assert torch.equal(file.given_labels, given) and torch.equal(file.true_labels, true)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("make", [np.asarray, torch.tensor, list])
def test_a_bare_array_tensor_or_list_is_the_given_labels(tmp_path, make, legacy):
    file = read_label_file(write_pt(tmp_path / "bare.pth", make(made_labels().tolist()), legacy))
    assert file.given_labels.tolist() == made_labels().tolist()
    assert file.key == "" and file.true_labels is None and file.index is None


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i4", "u4", ">i8", "u8"])
@pytest.mark.parametrize("suffix", [".pt", ".npy", ".npz"])
def test_integers_of_any_width_and_byte_order_become_int64(tmp_path, dtype, suffix):
    path, array = tmp_path / f"a{suffix}", made_labels().astype(dtype)
    if suffix == ".pt":
        write_pt(path, array)
    elif suffix == ".npy":
        np.save(path, array)
    else:
        np.savez(path, given_labels=array)
    given = read_label_file(path).given_labels
    assert given.dtype == torch.int64 and given.tolist() == made_labels().tolist()


def test_labels_that_were_read_may_be_written_to(tmp_path):
    given = read_label_file(write_pt(tmp_path / "a.pt", made_labels())).given_labels
    given[0] = 7
    assert given[0] == 7


def test_several_label_arrays_without_a_key_are_listed(tmp_path):
    message = read_error(write_pt(tmp_path / "many.pt", cifar10n()))
    assert "option key" in message and "'clean_label'" not in message
    assert all(repr(key) in message for key in HUMAN_LABELS["cifar10"].values())


def test_an_unknown_key_lists_the_entries_that_hold_labels(tmp_path):
    held = {"noisy": made_labels(), "rate": 0.4, "logits": np.zeros((60, 10)), "note": "by hand"}
    message = read_error(write_pt(tmp_path / "a.pt", held), "worst")
    assert message.endswith("holds no labels 'worst'; it has: 'noisy'")


def test_true_labels_are_given_labels_only_when_the_key_says_so(tmp_path):
    path = write_pt(tmp_path / "a.pt", {"clean_label": made_labels(), "true_label": made_labels()})
    assert "'clean_label', 'true_label'" in read_error(path)
    assert read_label_file(path, "clean_label").key == "clean_label"


def test_what_is_no_label_array_is_no_candidate(tmp_path):
    held = {"noisy": made_labels(), "rate": 0.4, "weights": torch.ones(60, dtype=torch.bfloat16), "mask": [True] * 60}
    assert read_label_file(write_pt(tmp_path / "a.pt", held)).key == "noisy"


@pytest.mark.parametrize(
    "array",
    [np.zeros(5, complex), np.zeros(5, bool), np.zeros((5, 1), int), np.zeros((5, 2), int), np.array(3)],
    ids=["complex", "bool", "(M, 1)", "(M, 2)", "scalar"],
)
@pytest.mark.parametrize("suffix", [".pt", ".npy", ".npz"])
def test_an_array_that_is_not_m_integers_is_refused(tmp_path, array, suffix):
    path = tmp_path / f"a{suffix}"
    {".pt": write_pt, ".npy": np.save, ".npz": lambda p, a: np.savez(p, given_labels=a)}[suffix](path, array)
    assert "integers of shape (M,)" in read_error(path)


@pytest.mark.parametrize("held", [torch.rand(5), torch.zeros(5, dtype=torch.bool), [0.5], ["a"], [], {}, "text", 3])
def test_a_pt_file_without_labels_is_refused(tmp_path, held):
    read_error(write_pt(tmp_path / "a.pt", held))


def test_given_and_true_labels_of_different_length_are_refused(tmp_path):
    path = write_pt(tmp_path / "a.pt", {"noisy": made_labels(60), "clean_label": made_labels(59)})
    assert "60 given labels but 59 of 'clean_label'" in read_error(path)


def test_an_index_of_different_length_is_refused(tmp_path):
    path = write_pt(tmp_path / "a.pt", {"noisy": made_labels(60), "index": np.arange(61)})
    assert "60 given labels but 61 of 'index'" in read_error(path)


def test_a_number_under_the_name_of_true_labels_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", noisy=made_labels(), clean=np.array(0.6))
    assert "entry 'clean': labels must be integers of shape (M,)" in read_error(tmp_path / "a.npz")


def test_line_breaks_in_the_names_of_entries_stay_out_of_the_message(tmp_path):
    path = write_pt(tmp_path / "a.pt", {"a\nb": made_labels(), "c\x1b[31m": made_labels()})
    assert r"'a\nb'" in read_error(path) and r"'c\x1b[31m'" in read_error(path)


# --- Files that want to run code ---


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"noisy_label": made_labels(), "x": x}, lambda x: [x]])
@pytest.mark.parametrize("attack", [Runs, Evaluates, ReadsThroughNumpy])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_calls_a_function_is_not_opened(tmp_path, wrap, attack, legacy):
    marker = tmp_path / "marker"
    message = read_error(write_pt(tmp_path / "evil.pt", wrap(attack(marker)), legacy))
    assert re.search(r"holds more than labels \([\w.]+\) and was not opened$", message)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_that_calls_a_function_is_not_opened(tmp_path, protocol):
    path = write(tmp_path / "evil.pt", pickle.dumps(Runs(tmp_path / "marker"), protocol))
    assert "was not opened" in read_error(path)
    assert not (tmp_path / "marker").exists()


def test_the_marker_of_these_attacks_does_appear_when_a_pickle_is_trusted(tmp_path):
    for attack in (Runs, Evaluates, ReadsThroughNumpy):
        marker = tmp_path / attack.__name__
        torch.load(write_pt(tmp_path / "evil.pt", attack(marker)), weights_only=False)
        assert marker.exists()


def test_the_environment_cannot_make_a_file_run_code(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    message = read_error(write_pt(tmp_path / "evil.pt", {"noisy": made_labels(), "x": Runs(tmp_path / "marker")}))
    assert "holds more than labels" in message and not (tmp_path / "marker").exists()


def test_what_the_rest_of_the_program_trusts_is_not_trusted_here(tmp_path):
    path = write_pt(tmp_path / "evil.pt", Evaluates(tmp_path / "marker"))
    with torch.serialization.safe_globals([eval]):
        assert "(eval)" in read_error(path)
    assert not (tmp_path / "marker").exists()


def test_what_the_rest_of_the_program_trusts_is_the_same_afterwards(tmp_path):
    good, evil = write_pt(tmp_path / "a.pt", made_labels()), write_pt(tmp_path / "b.pt", Runs(tmp_path / "marker"))
    with torch.serialization.safe_globals([np.ndarray, (np.dtype, "numpy.dtype")]):
        before = set(torch.serialization.get_safe_globals())
        assert len(read_label_file(good).given_labels) == 60
        read_error(evil)
        assert set(torch.serialization.get_safe_globals()) == before
    assert np.ndarray not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("legacy", [False, True])
def test_an_object_array_is_refused_with_all_that_is_in_it(tmp_path, legacy):
    for number, held in enumerate([3, "text", Runs(tmp_path / "marker")]):
        entries = {"noisy_label": made_labels(), "x": object_array(held)}
        read_error(write_pt(tmp_path / f"{number}.pt", entries, legacy))
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("dtype", ["O", "O8", "i8,O", "O,O"])
@pytest.mark.parametrize("zipped", [True, False])
def test_bytes_that_pose_as_python_objects_are_refused(tmp_path, dtype, zipped):
    raw = np.full(1, 0x41414141, np.int64)
    forged = pickle.dumps(raw, 2).replace(b"X\x02\x00\x00\x00i8", b"X" + struct.pack("<I", len(dtype)) + dtype.encode())
    assert dtype.encode() in forged
    read_error(write_pickle(tmp_path / "forged.pt", forged, zipped))


def test_an_integer_dtype_with_an_object_field_yields_plain_integers(tmp_path):
    # With the real numpy.dtype this file makes an array whose bytes are followed as pointers, and Python crashes.
    state = b"(K\x03X\x01\x00\x00\x00<NX\x01\x00\x00\x00a\x85}X\x01\x00\x00\x00a"
    state += b"cnumpy\ndtype\nX\x01\x00\x00\x00O\x89\x88\x87RK\x00\x86sK\x08K\x08K\x00tb"
    data = b"c_codecs\nencode\nX\x08\x00\x00\x00AAAAAAAAX\x06\x00\x00\x00latin1\x86R"
    array = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85X\x01\x00\x00\x00b\x87R(K\x01K\x01\x85"
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00i8\x89\x88\x87R"
    forged = write_pickle(tmp_path / "forged.pt", b"\x80\x02" + array + dtype + state + b"\x89" + data + b"tb.")
    assert read_label_file(forged).given_labels.tolist() == [0x4141414141414141]


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_numpy_files_with_objects_are_refused(tmp_path, suffix):
    path, array = tmp_path / f"a{suffix}", object_array(Runs(tmp_path / "marker"))
    np.save(path, array) if suffix == ".npy" else np.savez(path, given_labels=array)
    assert {".npy": "holds more than labels (", ".npz": "allow_pickle=False"}[suffix] in read_error(path)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_a_pickle_under_another_name_is_refused(tmp_path, suffix):
    read_error(write(tmp_path / f"a{suffix}", pickle.dumps(Runs(tmp_path / "marker"))))
    assert not (tmp_path / "marker").exists()


@pytest.mark.filterwarnings("ignore:.*TorchScript")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_program_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        for name, text in (
            ("data.pkl", pickle.dumps(None, 2)),
            ("constants.pkl", pickle.dumps((), 2)),
            ("version", "3"),
        ):
            archive.writestr(f"archive/{name}", text)
    assert "damaged or no label file" in read_error(tmp_path / "a.pt")


# --- .csv ---


def test_seal_csv_is_read_by_its_header(tmp_path):
    file = read_label_file(write(tmp_path / "seal.csv", "label,label_noisy\n3,5\n1,1\n"))
    assert file.given_labels.tolist() == [5, 1] and file.true_labels.tolist() == [3, 1]
    assert file.key == "label_noisy" and file.index is None


def test_our_own_csv_names_the_rows_of_the_training_set(tmp_path):
    file = read_label_file(write(tmp_path / "own.csv", "index,given_label,true_label\n7,1,2\n3,0,0\n"))
    assert (
        file.index.tolist() == [7, 3] and file.given_labels.tolist() == [1, 0] and file.true_labels.tolist() == [2, 0]
    )
    assert all(labels.dtype == torch.int64 for labels in (file.index, file.given_labels, file.true_labels))


def test_true_labels_that_are_empty_throughout_are_none(tmp_path):
    file = read_label_file(write(tmp_path / "own.csv", "index,given_label,true_label\n7,1,\n3,0,\n"))
    assert file.true_labels is None and file.given_labels.tolist() == [1, 0] and file.index.tolist() == [7, 3]


def test_true_labels_that_are_partly_empty_are_refused_with_their_line(tmp_path):
    path = write(tmp_path / "own.csv", "index,given_label,true_label\n7,1,4\n3,0,\n")
    assert read_error(path).endswith("line 3 holds '' where an integer is needed")


@pytest.mark.parametrize("header", ["given_label\n", "label\n", "whatever\n", "index\n", ""])
def test_a_single_column_is_the_given_labels_with_any_header_or_none(tmp_path, header):
    file = read_label_file(write(tmp_path / "one.csv", header + "3\n5\n1\n"))
    assert file.given_labels.tolist() == [3, 5, 1] and file.key == header.strip()
    assert file.true_labels is None and file.index is None


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff3\n5\n",
        "\n\n3\n5\n\n",
        "3\r\n5\r\n",
        "3\r5\r",
        '"3"\n"5"\n',
        " 3\n 5",
        "label\r\n3\r\n5",
        "\ufefflabel\n3\n5",
    ],
)
def test_byte_order_marks_line_ends_quotes_and_blanks_lose_no_label(tmp_path, text):
    assert read_label_file(write(tmp_path / "one.csv", text)).given_labels.tolist() == [3, 5]


@pytest.mark.parametrize("given", ["given_label", "label_noisy", "noisy_label", "given", "noisy"])
@pytest.mark.parametrize("true", ["true_label", "label", "clean_label", "true", "clean"])
def test_usual_names_of_columns_are_known_in_any_order(tmp_path, given, true):
    file = read_label_file(write(tmp_path / "a.csv", f"{true}, {given}, rank, name\n1, 2, 9, cat\n3, 4, 8, dog\n"))
    assert file.given_labels.tolist() == [2, 4] and file.true_labels.tolist() == [1, 3]


def test_a_key_names_the_given_column(tmp_path):
    path = write(tmp_path / "a.csv", "index,ann,bob,true\n0,1,2,3\n1,4,5,6\n")
    assert "'ann', 'bob'" in read_error(path)
    file = read_label_file(path, "bob")
    assert (
        file.given_labels.tolist() == [2, 5] and file.true_labels.tolist() == [3, 6] and file.index.tolist() == [0, 1]
    )


@pytest.mark.parametrize("bad", ["cat", "1.5", "", "nan", "True", "inf", "1_0", "99999999999999999999999"])
def test_a_label_that_is_no_integer_is_named(tmp_path, bad):
    message = read_error(write(tmp_path / "a.csv", f"index,given_label\n0,3\n1,{bad}\n2,4\n"))
    assert "where an integer is needed" in message
    assert f"line 3 holds {bad!r}" in message


def test_the_line_of_a_bad_label_counts_no_header_where_there_is_none(tmp_path):
    assert "line 2 holds 'cat'" in read_error(write(tmp_path / "a.csv", "3\ncat\n4\n"))


def test_a_blank_line_between_labels_is_refused(tmp_path):
    assert "line 3 holds ''" in read_error(write(tmp_path / "a.csv", "given\n3\n\n4\n"))


@pytest.mark.parametrize(
    "text",
    [
        "given\n",
        "label\n3,4\n5,6\n",
        "given\n0,3\n1,4\n",
        "given,true\n1,2\n3,4,5\n",
        'given\n"3\n4',
        b"\xff\xfe3\x00",
        "\n \n",
    ],
)
def test_a_csv_that_is_no_table_of_labels_is_refused(tmp_path, text):
    read_error(write(tmp_path / "a.csv", text))


@pytest.mark.parametrize(
    ("text", "given", "index", "true"),
    [
        ("annotator,label\n7,3\n8,5\n", [3, 5], None, None),
        ("id,label\n1,3\n0,5\n", [3, 5], [1, 0], None),
        ("idx,Label\n1,3\n0,5\n", [3, 5], [1, 0], None),
        (",label\n1,3\n0,5\n", [3, 5], [1, 0], None),  # as pandas writes a table
        ("Noisy Label,label\n3,4\n5,6\n", [3, 5], None, [4, 6]),
        ("file,targets\na.png,3\nb.png,5\n", [3, 5], None, None),
    ],
)
def test_columns_are_what_their_names_say(tmp_path, text, given, index, true):
    file = read_label_file(write(tmp_path / "a.csv", text))
    assert file.given_labels.tolist() == given
    assert (file.index if index is None else file.index.tolist()) == index
    assert (file.true_labels if true is None else file.true_labels.tolist()) == true


def test_the_option_index_names_the_rows_or_says_that_there_are_none(tmp_path):
    path = write(tmp_path / "a.csv", "row,id,label\n4,900,3\n5,901,5\n")
    assert read_label_file(path).index.tolist() == [900, 901]
    assert read_label_file(path, index="row").index.tolist() == [4, 5]
    assert read_label_file(path, index="none").index is None
    assert "no rows 'place'; it has: 'row', 'id', 'label'" in read_error(path, index="place")


def test_columns_without_a_header_go_by_their_number(tmp_path):
    path = write(tmp_path / "a.csv", "1,3\n0,5\n")
    assert "option key: '0', '1'" in read_error(path)
    file = read_label_file(path, 1, 0)
    assert file.given_labels.tolist() == [3, 5] and file.index.tolist() == [1, 0] and file.key == "1"


# --- Names and whole floats as labels ---

NAMES = ("cat", "dog", "guinea pig")


@pytest.mark.parametrize("text", ["label\ndog\n2\nguinea pig\n", "dog\n2\nguinea pig\n"], ids=["header", "none"])
def test_names_of_classes_are_labels(tmp_path, text):
    for name in ("a.csv", "a.txt"):
        assert read_label_file(write(tmp_path / name, text), class_names=NAMES).given_labels.tolist() == [1, 2, 2]


def test_true_labels_may_be_names_too(tmp_path):
    path = write(tmp_path / "a.csv", "index,given,clean\n1,dog,cat\n0,cat,cat\n")
    file = read_label_file(path, class_names=NAMES)
    assert file.given_labels.tolist() == [1, 0] and file.true_labels.tolist() == [0, 0]


def test_a_name_of_no_class_is_named_with_the_nearest(tmp_path):
    message = read_error(write(tmp_path / "a.csv", "label\ncat\ndgo\n"), class_names=NAMES)
    assert "line 3 holds 'dgo'" in message and "the nearest: dog" in message
    np.save(tmp_path / "a.npy", np.array(["cat", "ca"]))
    message = read_error(tmp_path / "a.npy", class_names=NAMES)
    assert "index 1 holds 'ca'" in message and "the nearest: cat" in message


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
def test_whole_floats_are_labels_and_others_are_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save = {".npy": np.save, ".pt": write_pt}[suffix]
    save(path, np.array([3.0, 0.0, 5.0]))
    assert read_label_file(path).given_labels.tolist() == [3, 0, 5]
    save(path, np.array([3.0, 0.5, 5.0]))
    assert "index 1 holds '0.5' where an integer is needed" in read_error(path)


def test_text_of_whole_floats_is_labels(tmp_path):
    np.savetxt(tmp_path / "a.txt", [3.0, 0.0])
    assert read_label_file(tmp_path / "a.txt").given_labels.tolist() == [3, 0]
    assert read_label_file(write(tmp_path / "a.csv", "label\n3.0\n1\n")).given_labels.tolist() == [3, 1]


# --- .npy and .npz ---


def test_an_npy_file_is_one_array(tmp_path):
    np.save(tmp_path / "plc.npy", made_labels(45_000))
    file = read_label_file(tmp_path / "plc.npy")
    assert file.given_labels.tolist() == made_labels(45_000).tolist() and file.key == "" and file.true_labels is None


def test_a_key_for_an_array_without_a_name_is_refused(tmp_path):
    np.save(tmp_path / "plc.npy", made_labels())
    assert "leave key out" in read_error(tmp_path / "plc.npy", "noisy")


def test_our_own_npz_is_read_whatever_else_is_in_it(tmp_path):
    given, true = made_labels(seed=1), made_labels(seed=2)
    np.savez(tmp_path / "own.npz", given_labels=given, true_labels=true, worse=given, x=object_array("text"))
    file = read_label_file(tmp_path / "own.npz")
    assert file.given_labels.tolist() == given.tolist() and file.true_labels.tolist() == true.tolist()
    assert file.key == "given_labels"


def test_our_own_npz_may_lack_true_labels(tmp_path):
    np.savez(tmp_path / "own.npz", given_labels=made_labels())
    assert read_label_file(tmp_path / "own.npz").true_labels is None


def test_another_npz_follows_the_rules_for_keys(tmp_path):
    np.savez(tmp_path / "a.npz", ann=made_labels(seed=1), bob=made_labels(seed=2), clean_label=made_labels())
    assert "'ann', 'bob'" in read_error(tmp_path / "a.npz")
    file = read_label_file(tmp_path / "a.npz", "bob")
    assert file.given_labels.tolist() == made_labels(seed=2).tolist()
    assert file.true_labels.tolist() == made_labels().tolist()


# --- Any format ---


def write_any(path, n=60) -> Path:
    labels = {"given_labels": made_labels(n, 1), "true_labels": made_labels(n, 2)}
    if path.suffix == ".npy":
        np.save(path, labels["given_labels"])
    elif path.suffix == ".npz":
        np.savez(path, **labels)
    elif path.suffix == ".csv":
        rows = zip(range(n), *(column.tolist() for column in labels.values()), strict=True)
        write(path, "index,given_label,true_label\n" + "".join(f"{i},{given},{true}\n" for i, given, true in rows))
    else:
        write_pt(path, labels)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".csv", ".npy", ".npz", ".PT", ".CSV"])
def test_the_digest_is_the_start_of_the_sha256_of_the_file(tmp_path, suffix):
    path = write_any(tmp_path / f"a{suffix.lower()}").rename(tmp_path / f"b{suffix}")
    file = read_label_file(str(path))
    assert file.digest == hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert file.given_labels.tolist() == made_labels(seed=1).tolist()


@pytest.mark.parametrize("suffix", [".pt", ".csv", ".npy", ".npz"])
def test_a_missing_file_and_a_folder_and_an_empty_file_are_named(tmp_path, suffix):
    assert "No such file" in read_error(tmp_path / f"missing{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    assert "cannot be read" in read_error(tmp_path / f"folder{suffix}")
    assert read_error(write(tmp_path / f"empty{suffix}", "")).endswith("is empty")


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".npz"])
@pytest.mark.parametrize("keep", [1, 5, 100, 300])
def test_a_truncated_file_is_named(tmp_path, suffix, keep):
    path = write_any(tmp_path / f"a{suffix}")
    assert "damaged" in read_error(write(path, path.read_bytes()[:keep]))


@pytest.mark.parametrize("keep", [1, 5, 20, 100, 250, 500])
def test_a_truncated_file_in_the_legacy_format_is_named(tmp_path, keep):
    path = write_pt(tmp_path / "a.pt", {"noise_label_train": torch.arange(60)}, legacy=True)
    assert "damaged" in read_error(write(path, path.read_bytes()[:keep]))


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".npz"])
@pytest.mark.parametrize("text", ["hello world\n", "\0" * 200, "PK\x03\x04 no archive", "0123456789" * 20])
def test_a_file_of_something_else_is_named(tmp_path, suffix, text):
    assert "damaged" in read_error(write(tmp_path / f"a{suffix}", text))


@pytest.mark.parametrize("name", ["labels", "labels.pkl", "labels.gz", "labels.safetensors"])
def test_another_format_is_refused_with_the_list_of_formats(tmp_path, name):
    assert ".pt, .pth, .npy, .npz, .json, .csv, .tsv, .txt" in read_error(write(tmp_path / name, "3\n4\n"))


@pytest.mark.parametrize("suffix", [".pt", ".csv", ".npy", ".npz"])
def test_a_million_rows_are_read_at_once(tmp_path, suffix):
    path = write_any(tmp_path / f"a{suffix}", MILLION)
    start = time.perf_counter()
    file = read_label_file(path)
    assert time.perf_counter() - start < 2
    assert len(file.given_labels) == MILLION


# --- Where label files are ---


def test_a_path_that_exists_is_used_as_it_is(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", "3\n")
    assert find_label_file(str(path), tmp_path / "elsewhere") == path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_label_file("~/a.csv") == path


FOLDERS = [".", "labels", "cifar-n", "cal-idn", "labels/cifar-n", "labels/cal-idn"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_bare_name_is_looked_for_in_the_folders_of_the_data_root(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    path = write(tmp_path / folder / "made-labels.pt", "x")
    assert find_label_file("made-labels.pt", tmp_path) == path


def test_earlier_folders_win(tmp_path):
    for folder in reversed(FOLDERS):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        path = write(tmp_path / folder / "made-labels.pt", "x")
        assert find_label_file("made-labels.pt", tmp_path) == path


def test_a_relative_path_is_looked_for_under_root_and_its_labels_only(tmp_path):
    for folder in ("labels", "cifar-n"):
        (tmp_path / folder / "mine").mkdir(parents=True)
    write(tmp_path / "cifar-n" / "mine" / "a.pt", "x")
    with pytest.raises(InputError):
        find_label_file("mine/a.pt", tmp_path)
    path = write(tmp_path / "labels" / "mine" / "a.pt", "x")
    assert find_label_file("mine/a.pt", tmp_path) == path


def test_the_default_root_is_the_environment_variable_else_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path / "data"))
    for root in (tmp_path / "data", tmp_path / "home" / ".cache" / "nlcore"):
        root.mkdir(parents=True)
        write(root / "made-labels.pt", "x")
    assert find_label_file("made-labels.pt") == tmp_path / "data" / "made-labels.pt"
    monkeypatch.delenv("NLCORE_DATA")
    assert find_label_file("made-labels.pt") == tmp_path / "home" / ".cache" / "nlcore" / "made-labels.pt"


def find_error(name, root) -> str:
    with pytest.raises(InputError) as error:
        find_label_file(name, root)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_that_is_nowhere_is_named_with_the_places(tmp_path):
    message = find_error("made-labels.pt", tmp_path)
    assert all(str(tmp_path / folder / "made-labels.pt") in message for folder in FOLDERS) and "GitHub" not in message


def test_an_absolute_path_that_is_missing_is_named_without_the_root(tmp_path):
    assert "root" not in find_error("/nowhere/a.pt", tmp_path / "root")


@pytest.mark.parametrize("name", sorted(set(HUMAN_FILES.values())))
def test_who_lacks_the_human_labels_is_told_where_they_are(tmp_path, name):
    message = find_error(name, tmp_path)
    assert name in message and "UCSC-REAL/cifar-10-100n" in message and "CC BY-NC 4.0" in message


def test_every_dataset_with_human_labels_has_a_file():
    assert HUMAN_LABELS.keys() == HUMAN_FILES.keys()
