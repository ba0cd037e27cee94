"""What a grid needs and a machine lacks, before anything is tried."""

import pytest
import torch

from benchmark import ready
from nlcore import TrainConfig

CIFAR = TrainConfig(dataset="cifar10", method="ce", device="cpu")
HUMAN = TrainConfig(dataset="cifar10", noise="human:worst", method="ce", device="cpu")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder."""
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path))
    return tmp_path


def test_a_data_set_that_comes_with_the_package_lacks_nothing(data):
    assert ready.lacking([TrainConfig(device="cpu"), TrainConfig(dataset="glyphs", device="cpu")]) == []


def test_what_is_missing_is_named_once(data):
    images, labels = ready.lacking([CIFAR, HUMAN, HUMAN])
    assert images == f"cifar10.npz is not in {data}" and "CIFAR-10_human.pt was not found" in labels
    (data / "cifar10.npz").touch()
    assert ready.lacking([CIFAR, HUMAN]) == [labels]
    (data / "CIFAR-10_human.pt").touch()
    assert ready.lacking([CIFAR, HUMAN]) == []


def test_a_device_that_is_not_there_is_named(data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (line,) = ready.lacking([TrainConfig(device="cuda")])
    assert "no CUDA device" in line


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (
            "settings: {dataset: cifar100, device: cpu}\ncells: [{noise: human:fine}]",
            "cifar100.npz is not in .*; .*100_h",
        ),
        ("cells: [{method: nothing}]", "unknown method"),
    ],
)
def test_the_script_says_it_in_one_line(data, grid, words):
    (data / "grid.yml").write_text(grid)
    with pytest.raises(SystemExit, match=f"error: .*{words}") as end:
        ready.main(str(data / "grid.yml"))
    assert "\n" not in end.value.code


def test_a_grid_that_can_run_is_met_with_silence(data, capsys):
    (data / "grid.yml").write_text("settings: {device: cpu}\ncells: [{method: ce}]")
    ready.main(str(data / "grid.yml"))
    assert capsys.readouterr() == ("", "")
