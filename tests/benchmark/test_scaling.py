"""The measuring scripts measure what they say; their figures are for an idle machine, not for a test."""

import multiprocessing
import time

import pytest
import torch

from benchmark.scaling import made_snapshot, measure, measured
from benchmark.speed import engine_step, gpu, row, seconds, step, step_beside, throughput, vectors
from nlcore.methods import METHODS


def test_the_made_snapshot_has_separable_classes_and_the_stated_noise():
    snapshot, given = made_snapshot(5000, classes=4)
    assert snapshot.features.shape == (5000, 512) and snapshot.logits.shape == (5000, 4)
    agreement = (snapshot.logits.argmax(1) == given).float().mean()
    assert 0.67 < agreement < 0.73  # 40 % redrawn over four classes: 30 % wrong


def test_time_and_memory_of_a_call_are_its_own(pages):
    def work() -> None:
        held = pages(100_000_000)
        time.sleep(0.2)
        held.close()

    found = measured(work)
    assert 0.2 <= found["seconds"] < 2 and 80 < found["extra_mb"] < 150


def test_every_step_is_measured():
    rows = measure(1000)
    assert list(rows) == ["division", "hard -> anchors", "anchors -> hard"]
    assert all(row["seconds"] > 0 and row["extra_mb"] >= 0 for row in rows.values())


def test_seconds_is_the_median_after_a_warm_up():
    calls = []

    def work() -> None:
        calls.append(None)
        time.sleep(1 if len(calls) == 1 else 0.01)  # only the first call is slow

    assert seconds(work, 3) < 0.5 and len(calls) == 4


@pytest.mark.parametrize(
    ("limits", "verdict"), [({"low": 2}, "yes"), ({"low": 4}, "NO"), ({"high": 3}, "yes"), ({"high": 2}, "NO")]
)
def test_a_figure_beyond_its_limit_is_said_so(capsys, limits, verdict):
    row("what", 3.0, "s", **limits)
    assert capsys.readouterr().out.split()[-1] == verdict


@pytest.mark.parametrize("fast", [True, False])
def test_both_ways_to_take_a_step_move_the_network(fast):
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    work = step(images, fast)
    before = [cell.cell_contents for cell in work.__closure__ if isinstance(cell.cell_contents, torch.nn.Module)]
    weights = [p.clone() for p in before[0].parameters()]
    work()
    assert any(not torch.equal(a, b) for a, b in zip(weights, before[0].parameters(), strict=True))


def test_a_step_of_the_engine_is_timed_and_its_operations_are_counted():
    """A pass of the teacher and three times as much of the student, forward and back, for each of 128 images."""
    took, operations = engine_step("tiny", "float32")
    assert took > 0 and operations == pytest.approx(128 * 4 * 17e6, rel=0.05)


def test_what_is_measured_on_a_gpu_can_be_measured():
    """On the CPU: images a second alone, and a step beside another process."""
    assert throughput(torch.device("cpu"), batch=2, repeat=1) > 0
    assert step_beside(torch.device("cpu"), others=1, batch=2, repeat=1) > 0
    assert multiprocessing.active_children() == []


def test_without_a_gpu_there_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device is available here"):
        gpu(compiled=False)


def test_every_method_with_one_network_has_a_row_of_its_own(capsys):
    vectors(n=200, dim=16)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == [name for name in METHODS if name != "coteaching"]
    assert all("at most 20" in line and line.rstrip().endswith("yes") for line in lines)
