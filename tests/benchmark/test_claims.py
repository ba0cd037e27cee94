"""The experiments of the reproduction ledger: every row is there, and what a row computes itself is right."""

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from benchmark.claims import anchor, failures, questions, tssd
from benchmark.claims.__main__ import main
from benchmark.claims.frame import ROWS, Claim, claims, run_seed, stored_row
from benchmark.claims.lab import DIGITS, NOISES, RESULTS, Lab, blurred_rows, cells, half_blurred, long_tail
from nlcore import InputError
from nlcore.data.datasets import Dataset, load_dataset
from nlcore.methods import tssd as method
from nlcore.selection.division import Snapshot
from nlcore.selection.hallucination import Anchors
from nlcore.study.ledger import DECIDED, VERDICTS, verdict

torch.set_num_threads(1)
IDS = [
    *(f"T{n}" for n in range(1, 12)),
    *(f"W{n}" for n in range(1, 8)),
    *(f"A{n}" for n in range(1, 11)),
    *(f"Q{n}" for n in range(1, 6)),
]
STORED = RESULTS / "claims"


@pytest.fixture
def chance():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def toy():
    """A laboratory in which every run is one of 300 digits and four epochs, and no result is stored."""
    return Lab(
        RESULTS / "nothing here", dataset="digits", subset=300, network=None, epochs=4, warmup_epochs=2, device="cpu"
    )


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


# -- the table


def test_every_row_is_there_once():
    names = re.findall(r"^(\w+):$", ROWS.read_text(encoding="utf-8"), re.M)
    assert sorted(names) == sorted(IDS) and list(claims()) == names


def test_every_row_is_complete():
    for claim in claims().values():
        assert claim.paper in ("tssd", "anchor")
        assert all((claim.claim, claim.short, claim.protocol, claim.scale, claim.limits, claim.tests))
        assert claim.run is not None or claim.unavailable


def test_every_stored_row_belongs_to_a_claim_and_says_what_the_table_says():
    table = claims()
    assert {path.stem for path in STORED.glob("*.json")} == set(table)
    for claim in table.values():
        row = json.loads((STORED / f"{claim.id}.json").read_text(encoding="utf-8"))
        assert {name: row[name] for name in claim.texts()} == claim.texts(), claim.id
        assert verdict(row) in VERDICTS


def test_every_test_of_a_stored_row_finds_its_numbers():
    for claim in claims().values():
        row = stored_row(claim, STORED)
        names = {name for seeds in row["values"].values() for numbers in seeds.values() for name in numbers}
        if names:
            asked = {name for pair in claim.tests.values() for name in pair if isinstance(name, str)}
            assert asked <= names, claim.id


# -- running and storing


def test_a_claim_from_its_experiment_to_its_verdict(toy, tmp_path):
    for seed in (0, 1, 2):
        row = run_seed(claims()["A3"], toy, seed, tmp_path)
    stored = json.loads((tmp_path / "A3.json").read_text(encoding="utf-8"))
    assert stored == row and list(stored["runs"]) == ["0", "1", "2"]
    assert stored["configurations"] and stored["environment"]["code"]
    assert stored["command"] == "python -m benchmark.claims A3 --seeds 0 1 2"
    assert verdict(stored) in DECIDED


@pytest.mark.parametrize("name", ["T4", "T7", "A9", "Q1", "Q2", "W4", "W5"])
def test_an_experiment_gives_the_numbers_that_its_tests_ask_for(name, toy):
    claim = claims()[name]
    found = claim.run(toy, 0)
    names = {name for numbers in found.values() for name in numbers}
    assert {name for pair in claim.tests.values() for name in pair if isinstance(name, str)} <= names
    assert found == claim.run(toy, 0)  # whatever ran before


def made_claim(run) -> Claim:
    return Claim("T1", "tssd", "claim", "short", "protocol", {"a": ("x", 0)}, "scale", "limits", run)


def test_a_seed_that_runs_again_replaces_its_numbers(toy, tmp_path):
    run_seed(made_claim(lambda lab, seed: {"old": {"x": 1.0}, "both": {"x": 1.0}}), toy, 0, tmp_path)
    row = run_seed(made_claim(lambda lab, seed: {"both": {"x": math.nan, "y": 2.123456}}), toy, 0, tmp_path)
    assert row["values"] == {"both": {"0": {"x": None, "y": 2.1235}}}
    row = run_seed(made_claim(lambda lab, seed: {"both": {"x": 3.0}}), toy, 1, tmp_path)
    assert list(row["values"]["both"]) == ["0", "1"]


def test_a_run_is_made_once_and_named_every_time(toy):
    config = replace(DIGITS, seed=0, **NOISES["idn_xia"])
    first = toy.warm(config)
    toy.used.clear()
    assert toy.warm(config) is first and len(first.predictions) == 2
    assert toy.used[0]["run"] == "warm-up" and toy.used[0]["noise"] == "idn_xia"
    assert toy.warm(replace(config, seed=1)) is not first


def test_the_command_refuses_an_unknown_row_and_lists_without_writing(tmp_path, capsys):
    with pytest.raises(InputError, match="unknown row 'T99'"):
        main(["T99", "--out", str(tmp_path)])
    main(["--list", "--out", str(tmp_path)])
    assert len(capsys.readouterr().out.splitlines()) == len(IDS)
    assert not list(tmp_path.iterdir())


def test_a_row_without_numbers_is_stored_and_open(tmp_path):
    main(["T1", "--seeds", "7", "--out", str(tmp_path)])  # no stored cell has this seed
    row = json.loads((tmp_path / "T1.json").read_text(encoding="utf-8"))
    assert row["values"] == {} and verdict(row) == "not available"
    assert verdict(row | {"unavailable": ""}) == "open"


# -- what the experiments compute themselves, against slow versions


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
    config = replace(method.PRESETS["tuned"], per_class_from=None, min_distance=0.0)
    found = tssd.mining(seen, config, chance)
    assert 0 < found["number mined"] <= found["uncertain"] < 300
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
    config = replace(DIGITS, subset=300, epochs=3, warmup_epochs=2, seed=0, preset="paper", **NOISES["idn_xia"])
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
    found = cells(DIGITS, 3)
    assert list(found) == ["digits, symmetric", "digits, idn_xia", "digits, asymmetric"]
    assert {config.seed for config in found.values()} == {3}
