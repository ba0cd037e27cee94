"""No class may fill the labelled set, and none may vanish from it."""

import logging
import math

import torch

from nlcore.selection.division import Division, cap_every_class, keep_every_class, with_every_class


def test_a_selection_is_capped_at_the_mean_class_and_keeps_the_highest_scores(rng):
    scores, selected = torch.rand(80, generator=rng), torch.rand(80, generator=rng) < 0.7
    given = torch.tensor([0] * 50 + [1] * 20 + [2] * 10)
    kept = cap_every_class(selected, scores, given, 3)
    cap = int(selected.sum()) / 3
    for c in range(3):
        own = [i for i in range(80) if given[i] == c and selected[i]]
        expected = sorted(own, key=lambda i: -float(scores[i]))[: math.ceil(cap)]
        assert sorted(expected) == [i for i in range(80) if kept[i] and given[i] == c]


def test_a_class_with_too_few_labelled_samples_keeps_its_lowest_losses():
    given = torch.tensor([0] * 10 + [1] * 10)
    losses = torch.arange(20).float().flip(0)
    labelled = torch.zeros(20, dtype=torch.bool)
    labelled[:5] = True  # class 0 has enough, class 1 has none
    added = keep_every_class(labelled, losses, given, 2, share=0.25)
    assert added.nonzero().flatten().tolist() == [17, 18, 19]


def test_an_empty_labelled_set_is_repaired_for_every_class(rng):
    given = torch.arange(60) % 3
    labelled = torch.zeros(60, dtype=torch.bool)
    added = keep_every_class(labelled, torch.rand(60, generator=rng), given, 3, share=0.1)
    assert torch.bincount(given[added], minlength=3).tolist() == [2, 2, 2]


def test_share_zero_adds_nobody(rng):
    assert not keep_every_class(torch.zeros(9, dtype=torch.bool), torch.rand(9), torch.arange(9) % 3, 3, 0.0).any()


def test_added_samples_join_their_set_with_the_given_label_and_the_trust_that_they_have(make_snapshot, caplog):
    made = make_snapshot(n=40)
    ones = torch.ones(40)
    nobody = torch.zeros(40, dtype=torch.bool)
    trust = torch.linspace(0, 1, 40)
    before = Division(("in", "out"), ones.long(), nobody, (made.given + 1) % 4, ones, ones)
    with caplog.at_level(logging.INFO, "nlcore"):
        after = with_every_class(before, made.snapshot, made.given, trust, "in", 0.2)
    added = after.labelled
    assert torch.equal(torch.bincount(made.given[added]), (0.2 * torch.bincount(made.given)).ceil().long())
    assert torch.equal(after.membership == 0, added) and torch.equal(after.target[added], made.given[added])
    assert torch.equal(after.weight[added], trust[added])
    assert torch.equal(after.target[~added], before.target[~added])
    assert str(int(added.sum())) in caplog.text  # a fall-back is never silent
