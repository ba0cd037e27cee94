"""The estimator, as scikit-learn wants it, and what it says of labels."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nlcore import InputError, NoisyLabelClassifier
from nlcore.audit import classifier
from nlcore.audit.classifier import AuditWarning, as_seen, pictures
from nlcore.audit.evidence import directions, nearest_others, standardised
from nlcore.audit.judge import train_judge
from nlcore.data.datasets import load_dataset
from nlcore.noise.corrupt import corrupt

WORDS = np.array(["ant", "bee", "cat", "dog"])


@parametrize_with_checks([NoisyLabelClassifier(epochs=3)])
@pytest.mark.filterwarnings("ignore")
def test_it_is_an_estimator_of_scikit_learn(estimator, check) -> None:
    """No failure is expected; the check of the array API skips itself where SciPy's is off."""
    check(estimator)


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 6)) * 2.5
    true = rng.integers(4, size=500)
    given = np.where(rng.random(500) < 0.25, (true + rng.integers(1, 4, 500)) % 4, true)
    frame = pd.DataFrame(centres[true] + rng.normal(size=(500, 6)), columns=list("abcdef"))
    frame.index = [f"row {i}" for i in range(500)]
    return NoisyLabelClassifier().fit(frame, WORDS[given]), frame, WORDS[true], WORDS[given]


def test_the_table_names_the_wrong_labels_and_keeps_the_index(fitted) -> None:
    model, frame, true, given = fitted
    table = model.label_issues_
    assert list(table.index) == list(frame.index) and (table["given_label"] == given).all()
    assert roc_auc_score(true != given, -table["label_quality"]) > 0.97
    assert (table["predicted_label"] == true)[true != given].mean() > 0.9


def test_it_predicts_the_true_labels_better_than_it_was_taught(fitted) -> None:
    model, frame, true, given = fitted
    assert model.score(frame, true) > 0.95 > (given == true).mean()
    assert np.allclose(model.predict_proba(frame).sum(1), 1)
    assert model.n_features_in_ == 6 and list(model.feature_names_in_) == list("abcdef")


def test_noise_is_estimated(fitted) -> None:
    model, _, true, given = fitted
    estimate, low, high = model.wrong_
    assert low <= (true != given).sum() <= high and model.noise_rate_ == estimate / 500
    joint = pd.crosstab(true, given).to_numpy()
    assert np.abs(model.transition_matrix_ - joint / joint.sum(1, keepdims=True)).max() < 0.15
    assert np.allclose(model.transition_matrix_.sum(1), 1)


def test_of_many_samples_a_network_learns_from_some(noisy, monkeypatch) -> None:
    taught = []

    def spy(inputs, labels, *others):
        taught.append(len(labels))
        return train_judge(inputs, labels, *others)

    monkeypatch.setattr(classifier, "TAUGHT", 150)
    monkeypatch.setattr(classifier, "train_judge", spy)
    model = NoisyLabelClassifier("ce", epochs=3).fit(noisy.vectors.numpy(), noisy.given.numpy())
    assert taught == [150] * 4 and len(model.label_issues_) == len(noisy.given)


@pytest.mark.filterwarnings("ignore::nlcore.audit.classifier.AuditWarning")
@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_networks_and_neighbours_take_vectors_in_the_same_view(noisy, unit: float) -> None:
    """Many small columns that say nothing, as of a text, or the same in grams: then each column has its own scale."""
    small = 0.3 * torch.randn(600, 60, generator=torch.Generator().manual_seed(0))
    vectors = torch.cat([noisy.vectors, unit * small], 1)
    model = NoisyLabelClassifier("ce", epochs=1).fit(vectors.numpy(), noisy.given.numpy())
    assert all((len(judge.std.unique()) == 1) == (unit == 1) for judge in model.judges_)
    view = (directions if unit == 1 else standardised)(vectors)
    assert torch.equal(model.neighbours_, nearest_others(view, torch.arange(600), 20))


def test_it_can_be_pickled_and_cloned(fitted) -> None:
    model, frame, *_ = fitted
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(frame), model.predict_proba(frame))
    assert clone(model).get_params() == model.get_params() and not hasattr(clone(model), "classes_")


@pytest.mark.filterwarnings("ignore::nlcore.audit.classifier.AuditWarning")
def test_it_works_in_a_pipeline_in_cross_validation_and_in_a_search(fitted) -> None:
    _, frame, true, given = fitted
    pipeline = make_pipeline(StandardScaler(), NoisyLabelClassifier(epochs=4)).fit(frame, given)
    assert pipeline.score(frame, true) > 0.9
    assert cross_val_score(NoisyLabelClassifier(epochs=3), frame, given, cv=2).mean() > 0.5
    search = GridSearchCV(NoisyLabelClassifier(epochs=2), {"method": ["ce", "tssd"]}, cv=2).fit(frame, given)
    assert search.best_params_["method"] in ("ce", "tssd")


def test_a_concern_is_a_warning_too(noisy) -> None:
    rare = np.where(np.arange(600) < 5, "rare", WORDS[noisy.given])
    with pytest.warns(AuditWarning, match="times as large"), pytest.warns(AuditWarning, match="fewer than 20 samples"):
        model = NoisyLabelClassifier("ce", epochs=1).fit(noisy.vectors.numpy(), rare)
    assert any("rare" in sentence for sentence in model.concerns_)


def test_small_images_are_learnt_from_their_pixels() -> None:
    data = load_dataset("glyphs").subset(400)
    given = corrupt(data, "symmetric", 0.2, 0).given_labels
    images = data.train_images.numpy()[:, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)
        model = NoisyLabelClassifier(epochs=6).fit(images, given)
    assert roc_auc_score(given != data.train_labels, -model.label_issues_["label_quality"]) > 0.8
    assert model.predict(images[:7, None]).shape == (7,)
    with pytest.raises(InputError, match="fitted on"):
        model.predict(images[:7, :12, :12])


def test_larger_images_become_the_features_of_a_network_that_knows_photographs() -> None:
    images = np.random.default_rng(0).integers(256, size=(3, 40, 48, 3), dtype=np.uint8)
    assert pictures(images).shape == (3, 3, 40, 48)
    assert as_seen(pictures(images)).shape == (3, 1280)


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"method": "cleanlab"}, "unknown method"), ({"epochs": 0}, "epochs"), ({"epochs": 1.5}, "epochs")],
)
def test_a_setting_that_cannot_be_is_one_line(noisy, settings: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        NoisyLabelClassifier(**settings).fit(noisy.vectors, noisy.given)


@pytest.mark.parametrize(
    ("inputs", "labels", "says"),
    [
        (np.ones((20, 3)), np.arange(20) % 2, "same in every row"),
        (np.zeros((20, 8, 8), dtype=np.uint8), np.arange(20) % 2, "same in every row"),
        (np.arange(40.0).reshape(20, 2) + 1e9, np.arange(20) % 2, "subtract the column's mean first"),
        (np.eye(2), ["a", "b"], "2 samples are too few"),
        (np.eye(4), pd.Series(["a", pd.NA, "b", "b"], dtype="string"), "sample 1 has no label"),
        (np.arange(320, dtype=np.uint8).reshape(5, 8, 8), np.linspace(0.1, 0.9, 5), "Unknown label type"),
    ],
)
def test_data_that_cannot_be_judged_are_one_line(inputs, labels, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        NoisyLabelClassifier("ce").fit(inputs, labels)


def test_images_with_two_channels_and_labels_of_another_length_are_refused() -> None:
    images = np.zeros((10, 2, 20, 20), dtype=np.uint8)
    with pytest.raises(InputError, match="one or three channels"):
        NoisyLabelClassifier().fit(images, np.arange(10) % 2)
    with pytest.raises(InputError, match="10 images and 9 labels"):
        NoisyLabelClassifier().fit(images[:, :1], np.arange(9) % 2)
