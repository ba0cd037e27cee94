"""What the experiments of the reproduction ledger compute themselves, against slow versions."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from benchmark.claims import anchor, failures, questions, tssd
from benchmark.claims.lab import GLYPHS, NOISES, blurred_rows, cells, half_blurred, long_tail
from nlcore.data.datasets import Dataset, load_dataset
from nlcore.methods import tssd as method
from nlcore.selection.division import Snapshot
from nlcore.selection.hallucination import Anchors

torch.set_num_threads(1)


@pytest.fixture
def chance():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def seen():
    """What a fair network sees of 300 samples of four classes, 40 % of them with a wrong label."""
    g = torch.Generator().manual_seed(0)
    true = torch.arange(300) % 4
    wrong = torch.rand(300, generator=g) < 0.4
    given = torch.where(wrong, (true + torch.randint(1, 4, (300,), generator=g)) % 4, true)
    features = torch.eye(4).repeat(1, 3)[true] + 0.6 * torch.randn(300, 12, generator=g)
    logits = features @ torch.eye(4).repeat(1, 3).T
    snapshot = Snapshot(logits, features, F.cross_entropy(logits, given, reduction="none"))
    return SimpleNamespace(snapshot=snapshot, given=given, true=true, right=given == true, num_classes=4)


def test_what_each_stream_adds_to_the_other():
    p_loss, p_feature = torch.tensor([0.9, 0.1, 0.2, 0.3, 0.8]), torch.tensor([0.9, 0.8, 0.7, 0.1, 0.2])
    right = torch.tensor([True, True, False, False, True])
    found = tssd.streams(p_loss, p_feature, right)
    assert found["right kept by feature where loss says wrong"] == 100  # of sample 1
    assert found["wrong kept by feature where loss says wrong"] == 50  # of samples 2 and 3
    assert found["right kept by loss where feature says wrong"] == 100  # of sample 4
    assert found["wrong kept by loss where feature says wrong"] == 0  # of sample 3
    assert found["right missed by both"] == 0
    assert found["AUC of both"] == pytest.approx(100 * 6 / 6)


def test_mining_takes_the_same_number_in_every_way(seen, chance):
    config = replace(method.PRESETS["tuned"], mine_above=0.55)
    found = tssd.mining(seen, config, chance)
    assert 0 < found["number mined"] < found["uncertain"] < 300
    _, _, positive, negative = method.psd(seen.snapshot, seen.given, config)
    members = (~(positive | negative)).nonzero().flatten()
    score, _ = method.msp(seen.snapshot, seen.given, positive, negative, config, None, torch.Generator().manual_seed(0))
    ranked = sorted(members.tolist(), key=lambda i: -float(score[i]))[: int(found["number mined"])]
    assert found["mined"] == pytest.approx(100 * sum(seen.right[i].item() for i in ranked) / len(ranked))


def test_the_classifier_without_features_sees_none(seen, chance):
    config = method.PRESETS["paper"]
    _, _, positive, negative = method.psd(seen.snapshot, seen.given, config)
    score = tssd.without_features(seen, config, positive, negative, chance)
    moved = Snapshot(seen.snapshot.logits, torch.rand(300, 12), seen.snapshot.losses)
    other = SimpleNamespace(**vars(seen) | {"snapshot": moved})
    again = tssd.without_features(other, config, positive, negative, torch.Generator().manual_seed(0))
    assert torch.equal(score, again) and len(score.unique()) > 100


def test_random_mining_mines_as_many_and_leaves_the_method_as_it_was(monkeypatch):
    original, mined = method.msp, []

    def few(snapshot, given_labels, positive, negative, config, golden, generator):
        uncertain = (~(positive | negative)).nonzero().flatten()
        score = torch.zeros(len(positive)).index_fill(0, uncertain[: len(uncertain) // 3], 1.0)
        mined.append(len(uncertain) // 3)
        return score, 0.5

    monkeypatch.setattr(method, "msp", few)
    config = replace(
        GLYPHS, dataset="digits", subset=300, epochs=3, warmup_epochs=2, seed=0, preset="paper", **NOISES["idn_xia"]
    )
    result = tssd.train_with_random_mining(config)
    assert result.history[-1]["sets"]["mined"]["size"] == mined[0] and method.msp is few
    monkeypatch.undo()
    assert method.msp is original


def test_the_first_epoch_with_the_right_prediction():
    predictions = [torch.tensor([0, 1, 2, 0]), torch.tensor([0, 2, 0, 0]), torch.tensor([1, 2, 1, 0])]
    assert anchor.first_epoch(predictions, torch.tensor([0, 2, 1, 3])).tolist() == [0, 1, 2, 3]


def test_recall_by_quarter_of_difficulty():
    difficulty = torch.tensor([8, 1, 2, 3, 4, 5, 6, 7, 0.0, 9.0])
    right = torch.tensor([True] * 8 + [False] * 2)
    chosen = torch.tensor([False, True, True, True, False, False, True, False, True, True])
    assert anchor.recall_by_quarter(chosen, right, difficulty) == [100, 50, 50, 0]


def test_where_an_anchor_lies():
    features = torch.tensor([[4.0, 0.0], [-4.0, 0.0]])
    anchors = Anchors(torch.tensor([[1.0, 0.0], [5.0, 0.0]]), torch.zeros(2), torch.tensor([[0, 1], [0, 1]]))
    found = anchor.positions(anchors, features)
    assert found["cosine to the first"] == 100 and found["cosine between the parents"] == -100
    assert found["between"] == 50  # the second lies beyond its first parent


@pytest.mark.parametrize("way", ["cosine", "centred cosine", "Euclidean"])
def test_votes_of_the_nearest_anchors(way, chance):
    queries, keys = torch.rand(20, 5, generator=chance), torch.rand(30, 5, generator=chance)
    labels = torch.arange(30) % 3
    centre = queries.mean(0)
    found = anchor.nearest_vote(queries, Anchors(keys, labels, torch.zeros(30, 2)), way, centre, 3, voters=5)

    def nearness(q: torch.Tensor, k: torch.Tensor) -> float:
        if way == "Euclidean":
            return -math.dist(q.tolist(), k.tolist())
        shift = centre if way == "centred cosine" else 0
        return float(F.cosine_similarity(q - shift, k - shift, dim=0))

    for q, label in zip(queries, found.tolist(), strict=True):
        near = sorted(range(30), key=lambda j: -nearness(q, keys[j]))[:5]
        votes = [sum(int(labels[j]) == c for j in near) for c in range(3)]
        assert votes[label] == max(votes)


def test_the_lean_towards_the_true_class(seen):
    lean = anchor.lean(seen.snapshot.features, seen.given, seen.true, 4)
    assert torch.allclose(lean[seen.right], torch.zeros(1), atol=1e-4)  # both classes are the same one
    centred = seen.snapshot.features - seen.snapshot.features.mean(0)
    unit = centred / centred.norm(dim=1, keepdim=True)
    i = int((~seen.right).nonzero()[0])
    to = [F.cosine_similarity(unit[i], unit[seen.true == c].mean(0), dim=0) for c in (seen.true[i], seen.given[i])]
    assert float(lean[i]) == pytest.approx(100 * float(to[0] - to[1]), abs=1e-3)


def test_f1_of_each_given_class(seen, chance):
    chosen = torch.rand(300, generator=chance) < 0.5
    for c, f1 in enumerate(questions.f1_by_class(chosen, seen)):
        own = [i for i in range(300) if int(seen.given[i]) == c]
        found = sum(bool(chosen[i] and seen.right[i]) for i in own)
        precision, recall = found / sum(bool(chosen[i]) for i in own), found / sum(bool(seen.right[i]) for i in own)
        assert f1 == pytest.approx(100 * 2 * precision * recall / (precision + recall))


def test_the_spread_of_collapsed_anchors_is_nothing_and_that_of_the_samples_all(seen):
    features, labels = seen.snapshot.features, seen.given
    same = Anchors(features.clone(), labels, torch.zeros(300, 2))
    assert failures.spread(same, features, labels) == pytest.approx(100)
    longer = Anchors(features.mean(0) + 7 * (features - features.mean(0)), labels, torch.zeros(300, 2))
    assert failures.spread(longer, features, labels) == pytest.approx(100)
    points = Anchors(torch.eye(12)[labels], labels, torch.zeros(300, 2))
    assert failures.spread(points, features, labels) == pytest.approx(0, abs=1e-4)


def test_quality_of_a_labelled_set(seen, chance):
    found = tssd.quality(torch.ones(300, dtype=torch.bool), seen.right)
    share = 100 * float(seen.right.float().mean())
    assert found["recall"] == 100 and found["precision"] == pytest.approx(share)
    assert found["F1"] == pytest.approx(2 * share * 100 / (share + 100))


# -- changes of data


def test_a_long_tail_falls_by_its_ratio():
    data = load_dataset("digits").subset(1000)
    sizes = torch.bincount(long_tail(10)(data, 0).train_labels, minlength=10).sort().values
    assert sizes[-1] / sizes[0] == pytest.approx(10, rel=0.1) and len(sizes.unique()) == 10
    rarest = [int(torch.bincount(long_tail(10)(data, seed).train_labels).argmin()) for seed in range(5)]
    assert len(set(rarest)) > 1  # another order for each seed


def test_half_of_the_images_are_blurred():
    images = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
    images[:, :, 4, 4] = 243
    data = Dataset("made", images, torch.arange(10) % 2, images, torch.arange(10) % 2, ("a", "b"))
    changed = half_blurred(data, 0).train_images
    blurred = (changed != images).flatten(1).any(1).nonzero().flatten()
    assert sorted(blurred.tolist()) == sorted(blurred_rows(10, 0).tolist()) and len(blurred) == 5
    assert changed[blurred[0], 0, 4, 4] == 243 * 3 // 27  # averaged twice: 9 of 81 paths end where they began
    assert changed[blurred[0]].float().sum() == pytest.approx(243, abs=13)


def test_a_condition_names_data_and_noise():
    found = cells(GLYPHS, 3)
    assert list(found) == ["glyphs, symmetric", "glyphs, idn_xia", "glyphs, asymmetric"]
    assert {config.seed for config in found.values()} == {3}
