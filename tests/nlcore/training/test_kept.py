"""Epochs that are trained once, and are the same to the last bit for whoever reads them."""

import numpy as np
import pytest
import torch

from nlcore import TrainConfig, load_dataset, train
from nlcore.basics.files import KEPT_EPOCHS
from nlcore.selection.hallucination import Anchors
from nlcore.training import engine, kept
from nlcore.training.run import prepare


def small(**changes) -> TrainConfig:
    """200 digits, two epochs of warm-up and two of the method."""
    fixed = {"method": "tssd", "subset": 200, "epochs": 4, "warmup_epochs": 2, "device": "cpu"}
    return TrainConfig(**fixed | changes)


def rows(epochs) -> list[dict]:
    return [{key: value for key, value in epoch.row.items() if key != "seconds"} for epoch in epochs]


def weights(state) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in state.teacher.state_dict().values()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(KEPT_EPOCHS, str(tmp_path / "epochs"))
    return tmp_path / "epochs"


@pytest.fixture
def trained(monkeypatch):
    """The numbers of the epochs that are trained."""
    numbers, original = [], engine.method_epoch
    warmup = engine.warmup_epoch
    monkeypatch.setattr(engine, "method_epoch", lambda state, d: numbers.append(state.epoch) or original(state, d))
    monkeypatch.setattr(engine, "warmup_epoch", lambda state, *a: numbers.append(state.epoch) or warmup(state, *a))
    return numbers


def test_without_a_folder_everything_is_trained(monkeypatch, trained, tmp_path):
    monkeypatch.delenv(KEPT_EPOCHS, raising=False)
    config = small().resolved()
    for _ in range(2):
        list(kept.run(config, *prepare(config)))
    assert trained == [0, 1, 2, 3] * 2 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["tssd", "anchor", "dividemix", "ce"])
def test_a_run_that_is_read_equals_one_that_is_trained_bit_for_bit(method, folder, trained):
    config = small(method=method).resolved()
    plain = list(engine.run(config, *prepare(config)))
    first, again = (list(kept.run(config, *prepare(config))) for _ in range(2))
    assert trained == [0, 1, 2, 3] * 2  # the plain run and the first one
    assert [epoch.trained_elsewhere for epoch in first + again] == [False] * 4 + [True] * 4
    assert repr(rows(plain)) == repr(rows(first)) == repr(rows(again))
    assert all(map(torch.equal, weights(plain[-1].state), weights(again[-1].state)))
    assert torch.equal(plain[-1].state.generator.get_state(), again[-1].state.generator.get_state())
    if method == "ce":
        return
    for part in ("membership", "target", "weight", "clean_prob"):
        assert torch.equal(getattr(first[-1].division, part), getattr(again[-1].division, part))
    assert again[-1].division.set_names == first[-1].division.set_names
    assert torch.equal(first[-1].snapshot.features, again[-1].snapshot.features)
    assert first[-1].report.keys() == again[-1].report.keys()
    if method == "anchor":
        assert isinstance(again[-1].report["anchors"], Anchors)


def test_methods_share_their_warm_up_and_nothing_after_it(folder, trained):
    for method in ("ce", "dividemix", "tssd", "anchor"):
        config = small(method=method).resolved()
        list(kept.run(config, *prepare(config)))
    assert trained == [0, 1, 2, 3] + [2, 3] * 3  # cross-entropy's last two are a warm-up too, that nobody else needs


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"rate": 0.2},
        {"noise": "pairflip"},
        {"epochs": 5},  # another learning rate
        {"learning_rate": 0.01},
        {"network": "digits_cnn"},
        {"networks": 2},
        {"holdout": 0.1},
        {"subset": 300},
    ],
)
def test_a_warm_up_that_differs_in_anything_is_trained(change, folder, trained):
    for changes in ({}, change):
        config = small(**changes).resolved()
        next(kept.run(config, *prepare(config)))
    assert len(trained) == 2 + ("networks" in change)


def test_other_labels_or_images_under_the_same_configuration_are_other_epochs(folder, trained):
    config = small().resolved()
    data, noisy = prepare(config)
    next(kept.run(config, data, noisy))
    other = type(noisy)(**vars(noisy) | {"given_labels": noisy.given_labels.flip(0)})
    next(kept.run(config, data, other))
    images = type(data)(**vars(data) | {"train_images": data.train_images.flip(3)})
    next(kept.run(config, images, noisy))
    assert trained == [0, 0, 0]


def test_who_changes_the_state_between_two_epochs_keeps_nothing_of_it(folder, trained):
    config = small().resolved()
    epochs = kept.run(config, *prepare(config))
    torch.rand(1, generator=next(epochs).state.generator)
    list(epochs)
    assert len(list(folder.glob("*.pt"))) == 1
    assert repr(rows(kept.run(config, *prepare(config)))) == repr(rows(engine.run(config, *prepare(config))))


def test_a_damaged_file_is_trained_again(folder, trained, caplog):
    config = small().resolved()
    list(kept.run(config, *prepare(config)))
    for path in folder.glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-100])
    before = len(trained)
    assert repr(rows(kept.run(config, *prepare(config)))) == repr(rows(engine.run(config, *prepare(config))))
    assert len(trained) == before + 8 and "trained again" in caplog.text


def test_train_takes_a_kept_warm_up_and_counts_the_time_that_it_took(folder, monkeypatch):
    monkeypatch.setenv(KEPT_EPOCHS, "")
    plain = train(small(method="anchor"))
    monkeypatch.setenv(KEPT_EPOCHS, str(folder))
    first, second = train(small(method="dividemix")), train(small(method="anchor"))
    assert repr([row["train_loss"] for row in plain.history]) == repr([row["train_loss"] for row in second.history])
    assert plain.samples == second.samples
    assert [row["seconds"] for row in first.history[:2]] == [row["seconds"] for row in second.history[:2]]
    assert second.wall_seconds > sum(row["seconds"] for row in second.history)
    assert len(list(folder.glob("*_warmup_*.pt"))) == len(list(folder.glob("*.pt"))) == 2


def test_train_reads_whole_runs_that_a_chapter_has_trained_as_far_as_they_go(folder, trained, monkeypatch):
    config = small(method="anchor")
    monkeypatch.setenv(KEPT_EPOCHS, "")
    plain = train(config)
    monkeypatch.setenv(KEPT_EPOCHS, str(folder))
    list(kept.run(config.resolved(), *prepare(config.resolved())))
    del trained[:]
    assert train(config).samples == plain.samples and trained == []
    next(folder.glob("*_anchor_004_*.pt")).unlink()
    assert train(config).samples == plain.samples and trained == [3]
    assert len(list(folder.glob("*.pt"))) == 3  # what only `train` has trained is not kept


def test_large_epochs_are_not_kept(folder, monkeypatch):
    monkeypatch.setattr(kept, "LARGEST", 1000)
    config = small(epochs=3).resolved()
    list(kept.run(config, *prepare(config)))
    assert list(folder.glob("*.pt")) == []


def test_a_folder_that_cannot_be_made_is_said_and_does_without(tmp_path, monkeypatch, caplog, trained):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(KEPT_EPOCHS, str(tmp_path / "file" / "epochs"))
    config = small(epochs=3).resolved()
    assert len(list(kept.run(config, *prepare(config)))) == 3 and "not kept" in caplog.text


def test_other_shares_of_the_votes_are_another_epoch_though_the_majority_is_the_same(folder, trained, tmp_path):
    labels = load_dataset("digits").train_labels.numpy()
    for votes in (4, 5):
        np.save(tmp_path / "votes.npy", np.stack([labels] * votes + [(labels + 1) % 10], axis=1))
        noise = {"noise": f"annotators:{tmp_path / 'votes.npy'}", "noise_options": {"soft": True}}
        config = small(method="ce", epochs=1, **noise).resolved()
        list(kept.run(config, *prepare(config)))
    assert trained == [0, 0]
