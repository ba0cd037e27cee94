import os
from pathlib import Path

import pytest

from nlcore.basics.errors import InputError
from nlcore.basics.files import suffix_of, user_path, write_atomically


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
