"""tools/kernel.py: what a kernel says of itself. Running and stopping it is tested with tools/execute.py."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nlcore.basics.progress import REUSE, reused
from tools.kernel import STARTED, circumstances, read_old_runs


@pytest.mark.parametrize(
    ("initialised", "device"), [(True, "A GPU"), (False, "CPU (4 cores)")], ids=["GPU in use", "GPU not in use"]
)
def test_the_device_is_the_one_that_was_used(monkeypatch: pytest.MonkeyPatch, initialised: bool, device: str) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: initialised, get_device_name=lambda: "A GPU")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert circumstances()["device"] == device


def test_code_that_was_not_imported_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nlcore.basics.machine", raising=False)
    assert circumstances()["code"] is None
    monkeypatch.setitem(sys.modules, "nlcore.basics.machine", SimpleNamespace(code_version=lambda: "0a1b"))
    assert circumstances()["code"] == "0a1b"


def test_only_a_run_from_before_the_build_counts_as_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REUSE, str(tmp_path / "reuse"))
    kept = tmp_path / "kept.json"
    kept.touch()
    assert not read_old_runs(tmp_path / "reuse")
    reused(kept)  # another chapter of this build has made it
    assert not read_old_runs(tmp_path / "reuse")
    os.utime(kept, (STARTED - 60, STARTED - 60))
    reused(kept)
    assert read_old_runs(tmp_path / "reuse")
