"""A network as a judge of samples that it has not seen."""

import pickle

import pytest
import torch
from sklearn.metrics import roc_auc_score

from nlcore.audit import judge as module
from nlcore.audit.evidence import given_label_prob
from nlcore.audit.judge import judge_config, train_judge
from nlcore.basics.errors import InputError
from nlcore.data.datasets import Dataset


def dataset(n: int) -> Dataset:
    labels = torch.arange(n) % 3
    return Dataset("own", torch.randn(n, 5), labels, torch.zeros(0, 5), labels[:0], ("a", "b", "c"))


@pytest.mark.parametrize(
    ("n", "batch", "epochs"), [(60, 16, 100), (1000, 62, 19), (20_000, 256, 6), (90_000, 600, 6), (10**6, 1024, 6)]
)
def test_small_data_get_small_batches_and_more_epochs_large_data_fewer(n: int, batch: int, epochs: int) -> None:
    config = judge_config(dataset(n), "tssd", 0)
    assert (config.batch_size, config.epochs) == (batch, epochs)


@pytest.mark.parametrize("method", ["tssd", "anchor", "dividemix", "ce"])
def test_a_judge_finds_wrong_labels_among_samples_that_it_has_not_seen(make_blobs, method: str) -> None:
    data = make_blobs(n=800)
    judge = train_judge(data.vectors[:600], data.given[:600], 4, method, seed=0, length=8)
    opinion = judge.opinion(data.vectors[600:])
    assert torch.allclose(opinion.sum(1), torch.ones(200, dtype=torch.float64), atol=1e-6)
    assert roc_auc_score(data.wrong[600:], -given_label_prob(opinion, data.given[600:])) > 0.95
    right = (judge.probs(data.vectors[600:]).argmax(1) == data.true[600:]).double().mean()
    assert float(right) > 0.9


def test_a_class_that_it_has_never_met_has_no_probability(noisy) -> None:
    kept = noisy.given != 1
    judge = train_judge(noisy.vectors[kept], noisy.given[kept], 4, "ce", seed=0, length=2)
    assert judge.classes.tolist() == [0, 2, 3]
    probs = judge.opinion(noisy.vectors)
    assert probs.shape == (600, 4) and float(probs[:, 1].max()) == 0.0


def test_columns_of_one_unit_keep_their_sizes(noisy) -> None:
    """A column a thousand times as large as the others decides alone, and a constant one has no part in the scale."""
    vectors = torch.cat([noisy.vectors * torch.tensor([1000.0, 1, 1, 1, 1, 1]), torch.ones(600, 1)], 1)
    own, one = (train_judge(vectors, noisy.given, 4, "ce", 0, 1, one_unit=unit) for unit in (False, True))
    deviation = vectors.std(0, correction=0)
    assert torch.allclose(own.std[:6], deviation[:6], rtol=1e-4)
    assert torch.allclose(one.std, (deviation.square().sum() / 7).sqrt().expand(7), rtol=1e-4)


def test_the_same_seed_makes_the_same_judge_and_another_one_another(noisy) -> None:
    first, second, other = (
        train_judge(noisy.vectors, noisy.given, 4, "tssd", seed, 2).probs(noisy.vectors) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_a_judge_that_was_stopped_goes_on_as_if_it_had_not_been(noisy, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "KEEP_EVERY", -1.0)
    whole = train_judge(noisy.vectors, noisy.given, 4, "anchor", 0, 5)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_judge(noisy.vectors, noisy.given, 4, "anchor", 0, 5, stop, tmp_path)
    heard = []
    resumed = train_judge(
        noisy.vectors, noisy.given, 4, "anchor", 0, 5, lambda done, total: heard.append(done), tmp_path
    )
    assert heard == [4, 5]
    finished = train_judge(noisy.vectors, noisy.given, 4, "anchor", 0, 5, folder=tmp_path)  # it has only to be read
    for judge in (resumed, finished):
        assert torch.equal(judge.opinion(noisy.vectors), whole.opinion(noisy.vectors))
        assert torch.equal(judge.targets, whole.targets) and torch.equal(judge.taught, whole.taught)


def test_a_checkpoint_of_other_labels_is_refused(noisy, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "KEEP_EVERY", -1.0)
    train_judge(noisy.vectors, noisy.given, 4, "ce", 0, 2, folder=tmp_path)
    with pytest.raises(InputError, match="other data or labels"):
        train_judge(noisy.vectors, noisy.true, 4, "ce", 0, 2, folder=tmp_path)


def test_a_judge_can_be_pickled(noisy) -> None:
    judge = train_judge(noisy.vectors, noisy.given, 4, "tssd", 0, 2)
    again = pickle.loads(pickle.dumps(judge))
    assert torch.equal(again.opinion(noisy.vectors), judge.opinion(noisy.vectors))
