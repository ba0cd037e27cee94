import pytest
import torch

from nlcore.basics.chance import seeded, stream


def test_seeded_restores_the_global_state_even_after_an_error(unchanged_global_state):
    with unchanged_global_state(), pytest.raises(ZeroDivisionError), seeded(1):
        torch.rand(3)
        raise ZeroDivisionError


def test_a_stream_depends_on_the_seed_and_the_purpose_and_on_nothing_else():
    uses = [(seed, purpose) for seed in (0, 1, 11) for purpose in ("hold-out", "1 hold-out", "batches")]
    numbers = [stream(*use) for use in uses]
    assert len(set(numbers)) == len(uses) and numbers == [stream(*use) for use in uses]


def test_a_stream_is_the_same_in_every_process_and_can_seed_a_generator():
    assert stream(0, "hold-out") == 122536882089850
    torch.Generator().manual_seed(stream(2**31, "batches"))
