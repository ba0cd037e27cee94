import shutil
from pathlib import Path

import pytest
import torch

from nlcore.basics import machine
from nlcore.basics.machine import (
    code_version,
    cpu_threads,
    environment,
    peak_memory_mb,
    reset_peak_memory,
    resolved_precision,
)


def test_peak_memory_is_that_since_the_reset(pages):
    device = torch.device("cpu")
    if peak_memory_mb(device) is None:
        pytest.skip("this system does not say")
    big = pages(100_000_000)
    reset_peak_memory(device)
    with_big = peak_memory_mb(device)
    big.close()
    reset_peak_memory(device)
    without = peak_memory_mb(device)
    assert 80 < with_big - without < 120
    held = pages(50_000_000)
    assert 40 < peak_memory_mb(device) - without < 60
    held.close()


def test_the_environment_names_versions_code_and_device():
    found = environment(torch.device("cpu"))
    assert (
        found["torch"] == torch.__version__ and found["device"].startswith("cpu: ") and found["code"] == code_version()
    )
    assert all(isinstance(value, str) for value in found.values())


def test_the_environment_of_a_gpu_names_cuda_and_cudnn_too(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A Made GPU")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91300)
    found = environment(torch.device("cuda"))
    assert (found["device"], found["cuda"], found["cudnn"]) == ("cuda: A Made GPU", "13.0", "91300")
    assert "cuda" not in environment(torch.device("cpu"))


# -- processor


MADE = {"cpu_name": "A Made Processor", "avx2": True, "avx512_f": False, "architecture": "x86_64"}


@pytest.fixture
def processor(monkeypatch):
    """`processor(avx512_bf16=True)`: let this machine have other instructions."""

    def become(**instructions):
        monkeypatch.setattr("nlcore.basics.machine.capabilities", lambda: MADE | instructions)

    return become


CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ({}, "float32"),
        ({"avx512_f": True}, "float32"),  # AVX-512 without bf16: emulated, and two to three times slower
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"bf16": True, "architecture": "arm64"}, "bfloat16"),
    ],
)
def test_auto_is_bfloat16_only_where_the_processor_has_instructions_for_it(processor, instructions, expected):
    processor(**instructions)
    assert resolved_precision("auto", CPU) == expected
    assert [resolved_precision(name, CPU) for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_on_a_gpu_asks_the_gpu(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert resolved_precision("auto", GPU) == expected


def test_a_torch_that_does_not_know_its_processor_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert resolved_precision("auto", CPU) == "float32"
    assert machine.processor()


def test_the_processor_is_named_by_model_and_vector_instructions(processor):
    processor(avx512_f=True)
    assert machine.processor() == "A Made Processor (avx2, avx512_f)"
    found = environment(CPU, "bfloat16")
    assert found["device"] == "cpu: A Made Processor (avx2, avx512_f)" and found["precision"] == "bfloat16"


def test_more_threads_than_cores_are_cut_with_a_word(monkeypatch, caplog):
    monkeypatch.setattr("nlcore.basics.cores.cores", lambda: 2)
    before = torch.get_num_threads()
    with cpu_threads(500):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before
    assert caplog.messages == ["500 threads are more than the 2 cores that can be used here: cut"]
    with cpu_threads(0):
        assert torch.get_num_threads() == before


def test_the_code_version_covers_what_can_change_a_number_and_nothing_else(tmp_path, monkeypatch):
    """A copy of the package, in which one file after another is changed."""
    package = tmp_path / "nlcore"
    shutil.copytree(Path(machine.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(machine, "__file__", str(package / "basics" / "machine.py"))

    def version() -> str:
        return code_version.__wrapped__()

    before = version()
    assert before == code_version()
    for name in ("study/plots.py", "study/notebook.py", "study/explorer/page.py", "cli.py", "basics/progress.py"):
        (package / name).write_text("# changed")
        assert version() == before, name
    for name in ("noise/models.py", "training/epoch.py", "study/comparisons.py", "methods/tssd.py", "data/folders.py"):
        (package / name).write_text("# changed")
        assert version() != before, name
        before = version()
