import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlcore.basics.errors import InputError
from nlcore.basics.files import in_file_name, locked, suffix_of, user_path, write_atomically


def test_a_failing_write_leaves_no_file(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_atomically(tmp_path / "result.json", "{}")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_leaves_the_old_file_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "result.json").write_text("old")
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "result.json", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text() == "old"


def test_text_and_bytes_are_written_as_they_are_and_readable_by_all(tmp_path):
    write_atomically(tmp_path / "text", "naïve\n")
    write_atomically(tmp_path / "bytes", b"\x00\r\n")
    assert (tmp_path / "text").read_bytes() == "naïve\n".encode() and (tmp_path / "bytes").read_bytes() == b"\x00\r\n"
    assert (tmp_path / "text").stat().st_mode & 0o777 == 0o644


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/a") == tmp_path / "a" and user_path(Path("b/~")) == Path("b/~")
    with pytest.raises(InputError, match="~nobody-at-all/a is no path"):
        user_path("~nobody-at-all/a")


def test_a_suffix_is_known_in_any_case_and_another_one_is_refused():
    assert suffix_of(Path("a.CSV"), ".npz", ".csv") == ".csv"
    with pytest.raises(InputError, match=r"cannot write a\.txt: its name must end in \.npz or \.csv"):
        suffix_of(Path("a.txt"), ".npz", ".csv")


def test_a_locked_folder_is_refused_to_others_at_once_and_free_afterwards(tmp_path):
    with locked(tmp_path / "run"):
        started = time.monotonic()
        with pytest.raises(InputError, match=r"another run is writing into .*run; wait for its end, or choose another"):
            locked(tmp_path / "run").__enter__()
        assert time.monotonic() - started < 5
    with locked(tmp_path / "run"):
        pass


def test_a_lock_leaves_nothing_but_what_was_written(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "a" / "b"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "result").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "result"]


def test_a_lock_that_a_killed_process_has_left_is_no_lock(tmp_path):
    code = f"import os, nlcore.basics.files as f; f.locked({str(tmp_path)!r}).__enter__(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_cannot_be_locked(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write into"), locked(tmp_path / "file" / "run"):
        pass


def test_any_text_can_be_a_part_of_a_files_name():
    assert in_file_name("path:~/my data/a_1.npz") == "path---my-data-a_1.npz"
