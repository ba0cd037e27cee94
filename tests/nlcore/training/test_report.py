from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from nlcore.selection.division import Division, Snapshot
from nlcore.training.report import describe_division, label_order, sample_table

# A division of eight samples by hand.
TRUE = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
GIVEN = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0])  # five right, three wrong (3, 6, 7)
TARGET = torch.tensor([0, 0, 0, 0, 1, 1, 0, 0])  # sample 3 was corrected
MEMBERSHIP = torch.tensor([0, 0, 2, 1, 0, 2, 0, 2])  # easy 0 1 4 6, corrected 3, hard 2 5 7


def made_state(true=TRUE, class_names=("0", "1", "2"), files=None):
    index = torch.arange(10, 18)
    values = {"given_labels": GIVEN, "true_labels": true, "num_classes": 3, "class_names": class_names}
    return SimpleNamespace(index=index, files=files, **values)


# A network that predicts class 1, the surer the later the sample.
SEEN = Snapshot(torch.stack([torch.zeros(8), torch.arange(1.0, 9.0)], 1), torch.zeros(8, 1), torch.zeros(8))


def made_division():
    labelled = MEMBERSHIP < 2
    return Division(("easy", "corrected", "hard"), MEMBERSHIP, labelled, TARGET, torch.ones(8), torch.ones(8))


def test_precision_and_recall_of_each_set_by_hand():
    row = describe_division(made_division(), {}, ("easy", "corrected"), made_state(), SEEN)
    # easy: 0, 1, 4 right and 6 wrong; of five right given labels three are here.
    assert row["sets"]["easy"] == {"size": 4, "precision": 3 / 4, "recall": 3 / 5}
    # corrected: its target is right, its given label was not.
    assert row["sets"]["corrected"] == {"size": 1, "precision": 1.0, "recall": 0.0}
    # hard, labels dropped: only 7 is wrong; of three wrong given labels one is here.
    assert row["sets"]["hard"] == {"size": 3, "precision": 1 / 3, "recall": 1 / 3}


def test_the_labelled_set_joins_the_labelled_sets_and_counts_its_classes():
    labelled = describe_division(made_division(), {}, ("easy", "corrected"), made_state(), SEEN)["labelled"]
    assert labelled["size"] == 5 and labelled["precision"] == 4 / 5 and labelled["recall"] == 3 / 5
    assert labelled["f1"] == pytest.approx(2 * 0.8 * 0.6 / 1.4)
    assert labelled["histogram"] == [4, 1, 0]  # a dead class is a zero that stays in sight


def test_unknown_true_labels_give_none():
    row = describe_division(made_division(), {}, ("easy", "corrected"), made_state(true=None), SEEN)
    assert row["sets"]["easy"] == {"size": 4, "precision": None, "recall": None}
    assert row["labelled"]["f1"] is None and row["labelled"]["histogram"] == [4, 1, 0]


def test_the_order_of_labels_equals_a_count_of_pairs_and_a_walk_down_the_list(rng):
    given, true = torch.randint(3, (2, 60), generator=rng)
    clean_prob = torch.rand(60, generator=rng).mul(10).round() / 10  # with ties
    wrong = (given != true).tolist()
    pairs = [
        (p, q) for p, w in zip(clean_prob, wrong, strict=True) for q, v in zip(clean_prob, wrong, strict=True) if w > v
    ]
    auroc = sum(float(p < q) + 0.5 * float(p == q) for p, q in pairs) / len(pairs)
    precision, recall, average = 0.0, 0.0, 0.0
    for depth in sorted(set(clean_prob.tolist())):
        chosen = [w for w, p in zip(wrong, clean_prob.tolist(), strict=True) if p <= depth]
        precision = sum(chosen) / len(chosen)
        average += precision * (sum(chosen) / sum(wrong) - recall)
        recall = sum(chosen) / sum(wrong)
    order = label_order(clean_prob, given, true)
    assert order == {"auroc": pytest.approx(auroc), "average_precision": pytest.approx(average)}
    row = describe_division(made_division(), {}, ("easy",), made_state(), SEEN)
    assert row["auroc"] == 0.5 and row["average_precision"] == 3 / 8  # all as probable as the other


@pytest.mark.parametrize("true", [None, GIVEN, (GIVEN + 1) % 3])
def test_one_kind_of_label_has_no_order(true):
    assert label_order(torch.rand(8), GIVEN, true) == {"auroc": None, "average_precision": None}


def test_verdicts_stand_beside_as_many_predictions_of_the_network():
    labels = torch.tensor([0, 0, 0, 0, 1, 0, 0, 1])
    share = torch.tensor([torch.nan, torch.nan, 0.6, 0.9, torch.nan, 0.7, torch.nan, 0.5])
    report = {"verdict_labels": labels, "verdict_share": share}
    row = describe_division(made_division(), report, ("easy", "corrected"), made_state(), SEEN)
    # Of the verdicts on 2, 3, 5 and 7 only that on 3 is used, and right; the network is surest of 7, and right.
    assert row["verdicts"] == {
        "used": 1,
        "right": 1.0,
        "argmax_right": 1.0,
        "all": 4,
        "all_right": 3 / 4,
        "all_argmax_right": 2 / 4,
    }
    unknown = describe_division(made_division(), report, ("easy", "corrected"), made_state(true=None), SEEN)
    assert "verdicts" not in unknown


def test_an_empty_set_has_no_precision():
    division = replace(made_division(), set_names=("easy", "corrected", "hard", "never"))
    assert describe_division(division, {}, ("easy",), made_state(), SEEN)["sets"]["never"]["precision"] is None


def test_numbers_of_a_report_are_kept_and_tensors_are_not():
    row = describe_division(
        made_division(), {"auc": 0.5, "scores": TRUE, "quality": {"rank": 2.0}}, (), made_state(), SEEN
    )
    assert row["auc"] == 0.5 and row["quality"] == {"rank": 2.0} and "scores" not in row


def test_the_sample_table_corrects_labelled_samples_by_target_and_others_by_prediction():
    logits = torch.nn.functional.one_hot(torch.full((8,), 2), 3).float()
    table = sample_table(made_state(), Snapshot(logits, torch.zeros(8, 1), torch.zeros(8)), made_division())
    assert table["index"] == list(range(10, 18))
    assert table["set"] == ["easy", "easy", "hard", "corrected", "easy", "hard", "easy", "hard"]
    assert table["corrected_label"] == [0, 0, 2, 0, 1, 2, 0, 2]
    assert table["given_label"] == GIVEN.tolist() and table["true_label"] == TRUE.tolist()


def test_the_sample_table_keeps_the_order_of_labels_that_are_surely_wrong():
    probs = torch.tensor([1e-12, 2e-12, 1e-7, 0.123456789, 0.5, 1 - 1e-6, 0.0, 1.0])
    table = sample_table(
        made_state(),
        Snapshot(torch.zeros(8, 3), torch.zeros(8, 1), torch.zeros(8)),
        replace(made_division(), clean_prob=probs),
    )
    assert table["clean_prob"] == [1e-12, 2e-12, 1e-7, 0.123457, 0.5, 0.999999, 0.0, 1.0]


def test_names_of_classes_stand_beside_their_numbers():
    logits = torch.nn.functional.one_hot(torch.full((8,), 2), 3).float()
    snapshot = Snapshot(logits, torch.zeros(8, 1), torch.zeros(8))
    names = ("ape", "bee", "cow")
    table = sample_table(made_state(class_names=names), snapshot, made_division())
    assert table["given_name"] == [names[label] for label in GIVEN.tolist()]
    assert table["corrected_name"] == [names[label] for label in table["corrected_label"]]


def test_a_sample_is_named_by_its_file_in_the_whole_training_set():
    snapshot = Snapshot(torch.zeros(8, 3), torch.zeros(8, 1), torch.zeros(8))
    files = tuple(f"{row}.png" for row in range(20))
    table = sample_table(made_state(files=files), snapshot, made_division())
    assert table["file"] == [f"{row}.png" for row in range(10, 18)]
