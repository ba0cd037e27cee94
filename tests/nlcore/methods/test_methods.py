from dataclasses import replace

import numpy as np
import pytest
import torch

from nlcore.basics.errors import InputError
from nlcore.methods import METHODS, anchor, brings, dividemix, tssd
from nlcore.selection.mixture import low_component
from nlcore.selection.streams import lasting_opinion, prototype_loss
from nlcore.selection.voting import estimate_transition

DIVIDING = [(name, preset) for name in METHODS if brings(name, "divide") for preset in ("tuned", "paper")]
# The others judge, and use every label.
SORTING = [(name, preset) for name, preset in DIVIDING if len(METHODS[name].SETS) > 1]


@pytest.fixture(scope="module")
def made(make_snapshot):
    return make_snapshot(n=1200, k=4, rate=0.4)


@pytest.fixture(scope="module")
def blurred(make_snapshot):
    """Data on which the streams disagree now and then."""
    return make_snapshot(n=1200, k=4, rate=0.4, blur=0.9, doubt=2.0)


def divide(made, name, preset="tuned", **changes):
    method = METHODS[name]
    config = replace(method.PRESETS[preset], **changes)
    generator = torch.Generator().manual_seed(0)
    return method.divide(made.snapshot, made.given, made.classify, config, {}, generator)


def without_separation(made):
    """The same samples, all with the same loss."""
    return replace(made.snapshot, losses=torch.full_like(made.snapshot.losses, 0.5))


# -- every method


@pytest.mark.parametrize(("name", "preset"), SORTING)
def test_on_well_separated_data_the_labelled_set_is_large_and_right(made, name, preset):
    division, _ = divide(made, name, preset)
    right_label = made.given == made.true
    assert (division.target == made.true)[division.labelled].float().mean() > 0.97
    assert (division.labelled & right_label).sum() > 0.8 * right_label.sum()


@pytest.mark.parametrize(("name", "preset"), DIVIDING)
def test_every_sample_is_in_one_set_and_labelled_exactly_in_the_labelled_sets(made, name, preset):
    division, _ = divide(made, name, preset)
    method = METHODS[name]
    assert division.set_names == method.SETS and set(method.LABELLED) <= set(method.SETS)
    assert division.membership.min() >= 0 and division.membership.max() < len(method.SETS)
    in_labelled_set = torch.tensor([n in method.LABELLED for n in method.SETS])[division.membership]
    assert torch.equal(division.labelled, in_labelled_set)


@pytest.mark.parametrize(("name", "preset"), DIVIDING)
def test_targets_are_classes_and_weights_and_probabilities_lie_in_zero_to_one(made, name, preset):
    division, _ = divide(made, name, preset)
    n = len(made.given)
    assert all(len(v) == n for v in (division.target, division.weight, division.clean_prob, division.labelled))
    assert division.target.min() >= 0 and division.target.max() < 4 and division.target.dtype == torch.int64
    for values in (division.weight, division.clean_prob):
        assert values.isfinite().all() and values.min() >= 0 and values.max() <= 1 + 1e-6


@pytest.mark.parametrize(("name", "preset"), DIVIDING)
def test_the_clean_probability_speaks_of_the_given_label(made, name, preset):
    division, _ = divide(made, name, preset)
    right = made.given == made.true
    assert ((division.clean_prob > 0.5) == right).float().mean() > 0.9


@pytest.mark.parametrize(("name", "preset"), DIVIDING)
def test_the_same_generator_state_divides_the_same_way_without_touching_the_global_one(
    made, name, preset, unchanged_global_state
):
    with unchanged_global_state():
        first, again = divide(made, name, preset)[0], divide(made, name, preset)[0]
    assert torch.equal(first.membership, again.membership) and torch.equal(first.clean_prob, again.clean_prob)
    assert torch.equal(first.target, again.target) and torch.equal(first.weight, again.weight)


@pytest.mark.parametrize("name", ["dividemix", "tssd", "anchor"])
def test_keep_share_holds_every_given_class_in_the_labelled_set(made, name):
    """With tau = 1 no sample passes any threshold."""
    dropped, _ = divide(made, name, tau=1.0, keep_share=0.0)
    assert not dropped.labelled.any() or name == "anchor"
    kept, _ = divide(made, name, tau=1.0, keep_share=0.1)
    counts = torch.bincount(made.given)
    assert torch.equal(torch.bincount(made.given[kept.labelled], minlength=4), (0.1 * counts).ceil().long())
    assert torch.equal(kept.target[kept.labelled], made.given[kept.labelled])


@pytest.mark.parametrize(("name", "preset"), DIVIDING)
def test_losses_that_are_all_equal_are_no_obstacle(made, name, preset):
    method = METHODS[name]
    division, _ = method.divide(
        without_separation(made),
        made.given,
        made.classify,
        method.PRESETS[preset],
        {},
        torch.Generator().manual_seed(0),
    )
    assert division.labelled.any() and division.weight.isfinite().all()


def test_dividemix_on_equal_losses_trusts_every_label_and_logs_it(made, caplog):
    division, _ = dividemix.divide(
        without_separation(made), made.given, None, dividemix.DivideMixConfig(), {}, torch.Generator()
    )
    assert division.labelled.all() and (division.clean_prob == 1).all()
    assert "coincide" in caplog.text


@pytest.mark.parametrize("name", ["tssd", "anchor"])
def test_a_handful_of_samples_still_divides(make_snapshot, name):
    few = make_snapshot(n=12, k=4, rate=0.25)
    division, _ = divide(few, name)
    assert torch.bincount(few.given[division.labelled], minlength=4).min() > 0


# -- TSSD


@pytest.mark.parametrize("combination", ["agreement", "mean", "product", "loss", "feature", "joint"])
@pytest.mark.parametrize("meta", ["synthetic", "certain", "off"])
def test_tssd_runs_with_every_combination_and_meta_classifier(made, combination, meta):
    division, report = divide(made, "tssd", combination=combination, meta=meta, meta_passes=2)
    assert (division.target == made.true)[division.labelled].float().mean() > 0.95
    assert report["scores"].isnan().all() == (meta == "off")


@pytest.mark.parametrize(
    "changes",
    [
        {"feature_score": "row_sum", "feature_per_class": True},
        {"feature_per_class": True},
        {"feature_score": "margin"},
        {"feature_rounds": 1},
        {"per_class_from": 100},
        {"negatives": "uniform"},
        {"meta_scalars": True},
        {"tau": 0.7},
        {"mine_above": 0.5},
    ],
    ids=str,
)
def test_every_other_part_of_tssd_can_be_switched(blurred, changes):
    """Each switch changes the outcome and leaves a usable division."""
    division, _ = divide(blurred, "tssd", **changes)
    before, _ = divide(blurred, "tssd")
    changed = [not torch.equal(getattr(division, f), getattr(before, f)) for f in ("membership", "clean_prob")]
    assert any(changed)
    assert (division.target == blurred.true)[division.labelled].float().mean() > 0.85


def test_tssd_positives_and_negatives_are_where_both_streams_agree(made):
    division, report = divide(made, "tssd", keep_share=0.0)
    low, high = report["p_loss"] < 0.5, report["p_loss"] > 0.5
    names = np.array(tssd.SETS)[division.membership]
    np.testing.assert_array_equal(names == "positive", high & (report["p_feature"] > 0.5))
    np.testing.assert_array_equal(names == "negative", low & (report["p_feature"] < 0.5))


def test_tssd_ranks_labels_by_both_streams_whatever_makes_the_sets(blurred):
    """Neither mining nor a class that counts as undivided changes the order of the labels."""
    division, report = divide(blurred, "tssd")
    trust = (report["p_loss"] + report["p_feature"]) / 2
    expected = lasting_opinion(blurred.snapshot, blurred.given, trust, 0.3, {})
    torch.testing.assert_close(division.clean_prob, expected)
    whole, _ = divide(blurred, "tssd", min_distance=1e3, meta="off")
    assert bool(whole.labelled.all())  # no class has components that far apart
    torch.testing.assert_close(whole.clean_prob, expected)


def test_tssd_mines_only_uncertain_samples_that_the_meta_classifier_trusts(blurred):
    division, report = divide(blurred, "tssd", keep_share=0.0, mine_above=0.6)
    names = np.array(tssd.SETS)[division.membership]
    score = report["scores"].numpy()
    assert (names == "mined").sum() > 10 and (names == "uncertain").sum() > 3
    assert (score[names == "mined"] > 0.6).all() and (score[names == "uncertain"] <= 0.6).all()
    np.testing.assert_array_equal(division.weight[names == "mined"], score[names == "mined"])
    off, _ = divide(blurred, "tssd", keep_share=0.0, meta="off")
    assert set(np.array(tssd.SETS)[off.membership][names == "mined"]) == {"uncertain"}


def test_tssd_uses_a_golden_set_from_its_memory(made, make_snapshot):
    held_out = make_snapshot(n=200, k=4, rate=0.0, seed=5)
    config = tssd.TSSDConfig(meta="golden", golden=200)
    division, report = tssd.divide(
        made.snapshot, made.given, None, config, {"golden": (held_out.snapshot, held_out.true)}, torch.Generator()
    )
    assert report["scores"].isfinite().all()
    assert (division.target == made.true)[division.labelled].float().mean() > 0.95


# -- Anchor Hallucination


def test_the_prototype_loss_equals_a_loop_over_samples(rng):
    features, given = torch.rand(30, 5, generator=rng), torch.arange(30) % 3
    centred = [f - features.mean(0) for f in features]
    unit = [f / f.norm() for f in centred]
    means = [sum(unit[i] for i in range(30) if given[i] == c) for c in range(3)]
    for i, loss in enumerate(prototype_loss(features, given, 3).tolist()):
        scores = np.array([10 * float(unit[i] @ m / m.norm()) for m in means])
        assert loss == pytest.approx(-np.log(np.exp(scores)[given[i]] / np.exp(scores).sum()), abs=1e-4)


def test_trust_weights_the_class_means_of_the_prototype_loss(rng):
    features, given, trust = torch.rand(30, 5, generator=rng), torch.arange(30) % 3, torch.rand(30, generator=rng)
    unit = [(f - features.mean(0)) / (f - features.mean(0)).norm() for f in features]
    means = [sum(trust[i] * unit[i] for i in range(30) if given[i] == c) for c in range(3)]
    for i, loss in enumerate(prototype_loss(features, given, 3, trust).tolist()):
        scores = np.array([10 * float(unit[i] @ m / m.norm()) for m in means])
        assert loss == pytest.approx(-np.log(np.exp(scores)[given[i]] / np.exp(scores).sum()), abs=1e-4)


def by_hand(losses: torch.Tensor) -> torch.Tensor:
    """Probability of the low-loss component of losses that are scaled to [0, 1], the smallest loss being the surest."""
    losses = losses.double()
    return low_component((losses - losses.min()) / (losses.max() - losses.min()), one_sided=True).float()


def test_easiness_is_the_mean_of_what_loss_and_prototypes_say(blurred):
    """Each of four rounds weights the class means by what the loss and the round before say."""
    s, given, config = blurred.snapshot, blurred.given, anchor.PRESETS["tuned"]
    by_loss = trust = by_hand(s.losses)
    for _ in range(4):
        by_prototype = by_hand(prototype_loss(s.features, given, 4, trust))
        trust = by_loss * by_prototype
    torch.testing.assert_close(anchor.select_easy(s, given, config)[0], (by_loss + by_prototype) / 2)
    alone = replace(config, easy_loss="prototype", prototype_rounds=2)
    first = by_hand(prototype_loss(s.features, given, 4))
    second = by_hand(prototype_loss(s.features, given, 4, first))
    torch.testing.assert_close(anchor.select_easy(s, given, alone)[0], second)
    torch.testing.assert_close(anchor.select_easy(s, given, replace(config, easy_loss="ce"))[0], by_loss)


def test_where_the_network_contradicts_most_labels_the_loss_divides_alone_and_nothing_is_mined(blurred):
    s, given = blurred.snapshot, blurred.given
    contradicted = s.logits.argmax(1) != given
    assert 0.3 < float(contradicted.float().mean()) < 0.6
    by_loss, doubt = by_hand(s.losses), {"trust_from": 0.9}
    easiness, _ = anchor.select_easy(s, given, replace(anchor.PRESETS["tuned"], **doubt))
    torch.testing.assert_close(easiness, by_loss)
    division, report = divide(blurred, "tssd", keep_share=0.0, **doubt)
    torch.testing.assert_close(division.weight, by_loss)
    torch.testing.assert_close(division.clean_prob, (-s.losses).exp())
    names = np.array(tssd.SETS)[division.membership]
    np.testing.assert_array_equal(names, np.where(by_loss > 0.5, "positive", "negative"))
    assert report["scores"].isnan().all() and not (division.membership == tssd.SETS.index("mined")).any()
    trusting, _ = divide(blurred, "tssd")
    assert (trusting.membership == tssd.SETS.index("mined")).any()


@pytest.mark.parametrize(
    "changes",
    [
        {"easy_loss": "ce"},
        {"easy_loss": "prototype"},
        {"prototype_rounds": 1},
        {"easy_loss": "prototype", "per_class_mixture": True},
        {"balance": False},
        {"generator": "interpolated", "lambda_p": 0.6},
        {"centred": False, "similarity_weight": 1.0, "norm_penalty": 0.0},
        {"validity": True},
        {"direction": "anchor_to_hard"},
        {"direction": "anchor_to_hard", "vote": "majority", "voters": 10, "threshold": "own_class"},
        {"vote": "majority", "voters": 10},
        {"vote": "soft"},
        {"threshold": "own_class"},
        {"weight_by_easiness": False},
        {"as_sure_as_easy": False, "lambda_p": 1.0, "generator": "interpolated"},
        {"anchors_per_easy": 1, "max_anchors_per_class": 50},
    ],
    ids=str,
)
def test_every_part_of_anchor_can_be_switched(made, changes):
    division, report = divide(made, "anchor", **changes)
    assert (division.target == made.true)[division.labelled].float().mean() > 0.95
    assert len(report["anchors"].labels) > 0 and report["anchor_quality"]["rank"] > 1


def test_corrected_samples_carry_the_verdict_and_its_share(made):
    division, report = divide(
        made, "anchor", as_sure_as_easy=False, balance=False, generator="interpolated", lambda_p=0.6
    )
    corrected = division.membership == anchor.SETS.index("corrected")
    assert corrected.sum() > 50
    assert torch.equal(division.target[corrected], report["verdict_labels"][corrected])
    torch.testing.assert_close(division.weight[corrected], report["verdict_share"][corrected])
    assert (report["verdict_share"][corrected] >= 0.7).all()
    # They are what the method is for: most of these samples carry a wrong label.
    assert (made.given != made.true)[corrected].float().mean() > 0.9
    assert (division.target == made.true)[corrected].float().mean() > 0.99


def test_the_verdicts_of_learned_anchors_become_right_over_the_epochs(made):
    """A small set trains the hallucinator for a few steps an epoch only. The network has no say in these verdicts."""
    alone = {
        "vote": "soft",
        "accept": 0.7,
        "hallucinate_every": 1,
        "as_sure_as_easy": False,
        "balance": False,
    }
    memory, config = {}, replace(anchor.PRESETS["tuned"], **alone)
    precision = []
    for _ in range(30):
        division, _ = anchor.divide(made.snapshot, made.given, made.classify, config, memory, made.generator)
        corrected = division.membership == anchor.SETS.index("corrected")
        precision.append(float((division.target == made.true)[corrected].float().mean()))
    assert precision[0] < 0.9 and precision[-1] > 0.97


def test_a_pooled_verdict_sample_by_sample(blurred):
    """Votes of the nearest anchors times the transition to the given label, averaged with the network's opinion."""
    config, seen, given = anchor.PRESETS["tuned"], blurred.snapshot, blurred.given
    _, selected = anchor.select_easy(seen, given, config)
    easy, hard = selected.nonzero().flatten(), (~selected).nonzero().flatten()
    anchors, _ = anchor.make_anchors(
        seen, given, easy, blurred.classify, config, {"divisions": 0}, torch.Generator().manual_seed(0)
    )
    verdict, share, accepted = anchor.vote(seen, given, easy, hard, anchors, config)
    transition = estimate_transition(seen.logits, given)
    centre = seen.features[easy].mean(0)
    for place in range(0, len(hard), len(hard) // 20):
        row = hard[place]
        cosines = torch.cosine_similarity(seen.features[row] - centre, anchors.features - centre)
        votes = torch.zeros(4)
        for voter in cosines.argsort(descending=True)[: config.voters]:
            votes[anchors.labels[voter]] += (cosines[voter] / config.vote_temperature).exp()
        votes = votes * transition[:, given[row]]
        pooled = (votes / votes.sum() + seen.logits[row].softmax(0)) / 2
        assert float(share[place]) == pytest.approx(float(pooled.max()), abs=1e-5)
        assert verdict[place] == pooled.argmax()
    assert torch.equal(accepted, share >= config.accept) and 0 < accepted.sum() < len(hard)


def test_easy_samples_keep_their_given_label_and_get_no_verdict(made):
    division, report = divide(made, "anchor")
    easy = division.membership == anchor.SETS.index("easy")
    assert torch.equal(division.target[easy], made.given[easy]) and report["verdict_share"][easy].isnan().all()


def test_correction_can_be_switched_off_and_every_hard_sample_stays_unlabelled(made):
    division, _ = divide(made, "anchor", correct=False, keep_share=0.0)
    assert not (division.membership == anchor.SETS.index("corrected")).any()
    assert torch.equal(division.labelled, division.membership == anchor.SETS.index("easy"))


def test_corrected_labels_are_as_sure_as_the_easy_ones_they_join(made):
    unsure = {
        "accept": 0.0,
        "vote_temperature": 100.0,
        "vote": "soft",
    }  # every verdict accepted, most of them hardly better than a draw
    careful, _ = divide(made, "anchor", **unsure)
    eager, _ = divide(made, "anchor", as_sure_as_easy=False, **unsure)
    easy, corrected = anchor.SETS.index("easy"), anchor.SETS.index("corrected")
    assert 0 < (careful.membership == corrected).sum() < (eager.membership == corrected).sum()

    def sureness(division, members):
        return float(division.weight[division.membership == members].mean())

    assert sureness(careful, corrected) >= sureness(careful, easy) - 1e-5
    assert sureness(eager, corrected) < sureness(eager, easy) - 0.05


def test_the_hallucinator_is_kept_from_epoch_to_epoch_and_trained_every_so_often(made):
    memory, config = {}, anchor.AnchorConfig(hallucinate_every=2, hallucinator_steps=3)

    def next_epoch():
        anchor.divide(made.snapshot, made.given, made.classify, config, memory, torch.Generator().manual_seed(0))
        return memory["hallucinator"], memory["hallucinator"].layers[0].weight.clone()

    (net, first), (same, second), (_, third) = (next_epoch() for _ in range(3))
    assert net is same and torch.equal(first, second) and not torch.equal(second, third)


def test_no_verdict_becomes_a_label_in_the_first_divisions(made):
    memory, config = {}, anchor.AnchorConfig(correct_from=0.5, hallucinator_steps=3, vote="soft")

    def corrected(progress):
        snapshot = replace(made.snapshot, progress=progress)
        division, _ = anchor.divide(snapshot, made.given, made.classify, config, memory, made.generator)
        return int((division.membership == anchor.SETS.index("corrected")).sum())

    assert corrected(0.0) == corrected(0.49) == 0 and corrected(0.5) > 50


def test_every_class_makes_the_same_number_of_anchors(made):
    _, report = divide(made, "anchor", max_anchors_per_class=70)
    assert torch.bincount(report["anchors"].labels).tolist() == [70] * 4


def test_validity_leaves_only_anchors_that_the_classifier_gives_their_class(made):
    _, report = divide(made, "anchor", validity=True, lambda_p=0.5, hallucinator_steps=5)
    anchors = report["anchors"]
    assert (made.classify(anchors.features).argmax(1) == anchors.labels).all()
    assert 0 < report["anchor_quality"]["valid"] < 1


# -- names


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (tssd.TSSDConfig, "combination"),
        (tssd.TSSDConfig, "feature_score"),
        (tssd.TSSDConfig, "meta"),
        (anchor.AnchorConfig, "easy_loss"),
        (anchor.AnchorConfig, "generator"),
        (anchor.AnchorConfig, "direction"),
        (anchor.AnchorConfig, "threshold"),
        (anchor.AnchorConfig, "vote"),
    ],
)
def test_an_unknown_name_of_a_part_is_refused_at_once_with_the_valid_ones(config, field):
    """Not after an hour of warm-up."""
    with pytest.raises(InputError, match=f"{field} 'nonsense'.*{getattr(config(), field)}"):
        config(**{field: "nonsense"})
