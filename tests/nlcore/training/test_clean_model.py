import numpy as np
import pytest
import torch

from nlcore import load_dataset
from nlcore.training import clean_model
from nlcore.training.clean_model import clean_predictions


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """300 digits and a data folder of the test's own."""
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path))
    return load_dataset("digits").subset(300)


@pytest.fixture
def trainings(monkeypatch):
    """A list that grows by one with every training."""
    calls, original = [], clean_model._trained
    monkeypatch.setattr(clean_model, "_trained", lambda *a: calls.append(1) or original(*a))
    return calls


def test_a_clean_model_learns_the_labels_and_averages_over_all_its_epochs(digits, monkeypatch):
    seen, original = [], clean_model.observe
    monkeypatch.setattr(clean_model, "observe", lambda state: seen.append(original(state)) or seen[-1])
    predictions = clean_predictions(digits, seed=0, epochs=6)
    assert len(seen) == 6
    mean = torch.stack([snapshot.logits.double().softmax(1) for snapshot in seen]).mean(0)
    torch.testing.assert_close(predictions.mean_probs.double(), mean, atol=1e-6, rtol=0)
    assert torch.equal(predictions.logits, seen[-1].logits)
    assert float((predictions.logits.argmax(1) == digits.train_labels).double().mean()) > 0.8


def test_a_dataset_smaller_than_a_usual_batch_has_a_clean_model_too(digits):
    assert len(clean_predictions(digits.subset(20), seed=0, epochs=1).logits) == 20


def test_predictions_are_kept_and_read_back(digits, trainings):
    first, second = (clean_predictions(digits, seed=0, epochs=1) for _ in range(2))
    assert len(trainings) == 1
    assert torch.equal(first.logits, second.logits) and torch.equal(first.mean_probs, second.mean_probs)


def test_other_seeds_lengths_images_and_labels_have_predictions_of_their_own(digits, trainings):
    other_labels = digits.rows(torch.arange(300))
    other_labels.train_labels[:10] = 0
    for dataset, seed, epochs in ((digits, 0, 1), (digits, 1, 1), (digits, 0, 2), (other_labels, 0, 1)):
        clean_predictions(dataset, seed, epochs)
    assert len(trainings) == 4


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_file_that_is_damaged_or_of_something_else_is_made_again(digits, trainings, tmp_path, damage):
    first = clean_predictions(digits, seed=0, epochs=1)
    (path,) = (tmp_path / "clean_models").iterdir()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        np.savez(path, digest="another", **dict.fromkeys(("logits", "features", "mean_probs"), np.zeros((3, 3))))
    assert torch.equal(clean_predictions(digits, seed=0, epochs=1).logits, first.logits)
    assert len(trainings) == 2


def test_new_code_replaces_the_predictions_of_the_old(digits, trainings, tmp_path, monkeypatch):
    clean_predictions(digits, seed=0, epochs=1)
    monkeypatch.setattr(clean_model, "code_version", lambda: "new")
    clean_predictions(digits, seed=0, epochs=1)
    assert len(trainings) == 2 and len(list((tmp_path / "clean_models").iterdir())) == 1


def test_without_a_place_to_keep_them_predictions_are_made_every_time(digits, trainings, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path / "file"))
    for _ in range(2):
        clean_predictions(digits, seed=0, epochs=1)
    assert len(trainings) == 2 and "not kept" in caplog.text
