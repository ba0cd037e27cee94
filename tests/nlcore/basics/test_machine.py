import pytest
import torch

from nlcore.basics.machine import code_version, environment, peak_memory_mb, reset_peak_memory


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
