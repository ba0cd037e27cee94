from types import SimpleNamespace

import pytest
import torch

from nlcore.basics.chance import seeded, stream


def test_seeded_restores_the_global_state_even_after_an_error(unchanged_global_state):
    with unchanged_global_state(), pytest.raises(ZeroDivisionError), seeded(1):
        torch.rand(3)
        raise ZeroDivisionError


def test_seeded_leaves_the_generators_of_other_devices_alone(monkeypatch):
    def touched(*arguments):
        raise AssertionError("a GPU was asked")

    for name in ("manual_seed", "manual_seed_all", "get_rng_state", "set_rng_state", "device_count"):
        monkeypatch.setattr(torch.cuda, name, touched)
    for device in (None, torch.device("cpu")):
        with seeded(1, device):
            first = torch.rand(3)
        assert torch.equal(first, torch.rand(3, generator=torch.Generator().manual_seed(1)))


def test_seeded_seeds_one_device_and_gives_it_its_state_back(monkeypatch):
    """A GPU, as far as a seed is concerned."""
    states = {"cuda:0": torch.tensor([7]), "cuda:1": torch.tensor([8])}

    class Generator:
        def __init__(self, device):
            self.device = device

        def manual_seed(self, seed):
            return SimpleNamespace(get_state=lambda: torch.tensor([seed]))

    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[str(device)])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.update({str(device): state}))
    with seeded(3, torch.device("cuda:1")):
        assert {name: int(state) for name, state in states.items()} == {"cuda:0": 7, "cuda:1": 3}
    assert {name: int(state) for name, state in states.items()} == {"cuda:0": 7, "cuda:1": 8}


def test_a_stream_depends_on_the_seed_and_the_purpose_and_on_nothing_else():
    uses = [(seed, purpose) for seed in (0, 1, 11) for purpose in ("hold-out", "1 hold-out", "batches")]
    numbers = [stream(*use) for use in uses]
    assert len(set(numbers)) == len(uses) and numbers == [stream(*use) for use in uses]


def test_a_stream_is_the_same_in_every_process_and_can_seed_a_generator():
    assert stream(0, "hold-out") == 122536882089850
    torch.Generator().manual_seed(stream(2**31, "batches"))
