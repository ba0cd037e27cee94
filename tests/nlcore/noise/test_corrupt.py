import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import truncnorm

from nlcore import InputError, corrupt, load_dataset
from nlcore.data.cifar_classes import CIFAR100_CLASSES, CIFAR100_SUPERCLASS
from nlcore.noise import corrupt as noise
from nlcore.noise.corrupt import NOISES, opinion_epochs, split_kind
from nlcore.noise.labels import write_csv
from nlcore.noise.models import ASYMMETRIC_PAIRS, CleanPredictions

KINDS = ("symmetric", "asymmetric", "pairflip", "idn_xia", "idn_shared", "mixed")
any_kind = st.sampled_from(KINDS)
any_rate = st.floats(0.01, 0.95)
any_seed = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def tens(make_dataset):
    """400 images of ten classes, named so that asymmetric noise knows the pairs."""
    return make_dataset(400, 10, name="digits")


# -- what holds for every kind


@given(kind=any_kind, rate=st.floats(0, 0.95), seed=any_seed)
def test_given_labels_are_class_numbers_and_true_labels_stay_as_they_were(tens, kind, rate, seed):
    before = tens.train_labels.clone()
    noisy = corrupt(tens, kind, rate, seed)
    assert noisy.given_labels.shape == before.shape and noisy.given_labels.dtype == torch.int64
    assert noisy.given_labels.min() >= 0 and noisy.given_labels.max() < 10
    assert torch.equal(noisy.true_labels, before) and torch.equal(tens.train_labels, before)


@given(kind=any_kind, rate=any_rate, seed=any_seed)
def test_the_transition_matrix_and_the_rate_are_the_realised_ones(tens, kind, rate, seed):
    noisy = corrupt(tens, kind, rate, seed)
    matrix = np.zeros((10, 10))
    for true, label in zip(noisy.true_labels.tolist(), noisy.given_labels.tolist(), strict=True):
        matrix[true, label] += 1
    matrix /= matrix.sum(1, keepdims=True)
    np.testing.assert_allclose(noisy.transition_matrix.numpy(), matrix, atol=1e-12)
    np.testing.assert_allclose(noisy.transition_matrix.sum(1).numpy(), 1)
    assert noisy.rate == pytest.approx(np.mean(noisy.true_labels.numpy() != noisy.given_labels.numpy()))


@given(kind=any_kind, rate=any_rate, seed=any_seed)
def test_the_same_seed_gives_the_same_labels_whatever_the_global_random_state(
    tens, kind, rate, seed, unchanged_global_state
):
    with unchanged_global_state():
        first = corrupt(tens, kind, rate, seed)
    torch.rand(1), np.random.rand()
    assert torch.equal(first.given_labels, corrupt(tens, kind, rate, seed).given_labels)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**32 + 3, 2**64, 1.0, None, True])
@pytest.mark.parametrize("kind", ["symmetric", "mixed", "given"])
def test_a_seed_out_of_range_is_refused_because_seeds_repeat_from_there(tens, kind, seed):
    with pytest.raises(InputError, match=r"seed must (lie in \[0, 4294967295\]|be a whole number), not"):
        corrupt(tens, kind, 0.4, seed)


def test_the_last_seed_is_one_of_its_own_and_numpy_may_give_it(tens):
    last, first = (corrupt(tens, "symmetric", 0.4, seed) for seed in (np.uint32(2**32 - 1), np.int64(0)))
    assert not torch.equal(last.given_labels, first.given_labels)
    assert "seed=4294967295" in last.identity
    assert torch.equal(first.given_labels, corrupt(tens, "symmetric", np.float64(0.4), 0).given_labels)


@given(kind=any_kind, rate=st.floats(0.2, 0.8), seed=any_seed)
def test_another_seed_gives_other_labels(tens, kind, rate, seed):
    assert not torch.equal(
        corrupt(tens, kind, rate, seed).given_labels, corrupt(tens, kind, rate, seed + 1).given_labels
    )


@pytest.mark.parametrize("kind", KINDS)
def test_rate_zero_leaves_every_label_as_it_is(tens, kind):
    noisy = corrupt(tens, kind, 0.0, 0)
    assert torch.equal(noisy.given_labels, tens.train_labels) and noisy.rate == 0
    assert torch.equal(noisy.transition_matrix, torch.eye(10, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_the_identity_tells_kind_rate_seed_and_data(tens, kind):
    words = corrupt(tens, kind, 0.35, 17).identity
    assert all(word in words for word in (kind, "0.35", "17", "digits", "400"))


def test_the_identity_tells_the_options_too(tens):
    assert "scaling=unit" in corrupt(tens, "idn_xia", 0.3, 0, scaling="unit").identity
    assert "include_true=True" in corrupt(tens, "symmetric", 0.3, 0).identity


# -- rates


@given(n=st.integers(20, 300), rate=st.floats(0, 0.99), seed=any_seed)
def test_symmetric_without_the_true_class_flips_exactly_the_nominal_share(make_dataset, n, rate, seed):
    dataset = make_dataset(n, 5)
    noisy = corrupt(dataset, "symmetric", rate, seed, include_true=False)
    assert int((noisy.given_labels != noisy.true_labels).sum()) == round(rate * n)


@given(k=st.integers(2, 10), rate=st.floats(0.1, 0.9), seed=any_seed)
def test_symmetric_with_the_true_class_flips_that_share_times_one_minus_one_over_k(make_dataset, k, rate, seed):
    n = 2000
    noisy = corrupt(make_dataset(n, k), "symmetric", rate, seed)
    redrawn = round(rate * n)
    flipped = int((noisy.given_labels != noisy.true_labels).sum())
    sampling_error = math.sqrt(redrawn * (1 - 1 / k) / k)
    assert flipped <= redrawn and abs(flipped - redrawn * (1 - 1 / k)) < 5 * sampling_error + 1


def test_symmetric_sends_labels_to_every_wrong_class_alike(make_dataset):
    matrix = corrupt(make_dataset(20000, 4), "symmetric", 0.6, 0).transition_matrix
    off_diagonal = matrix[~torch.eye(4, dtype=torch.bool)]
    assert (off_diagonal - 0.6 / 4).abs().max() < 0.02


@given(k=st.integers(2, 10), rate=st.floats(0, 0.99), seed=any_seed)
def test_pairflip_moves_exactly_the_nominal_share_to_the_next_class(make_dataset, k, rate, seed):
    noisy = corrupt(make_dataset(150, k), "pairflip", rate, seed)
    moved = noisy.given_labels != noisy.true_labels
    assert int(moved.sum()) == round(rate * 150)
    assert torch.equal(noisy.given_labels[moved], (noisy.true_labels[moved] + 1) % k)


@given(name=st.sampled_from(["digits", "glyphs", "cifar10"]), rate=any_rate, seed=any_seed)
def test_asymmetric_moves_labels_along_the_pairs_once_and_never_twice(make_dataset, name, rate, seed):
    noisy = corrupt(make_dataset(300, 10, name=name), "asymmetric", rate, seed)
    for true, label in zip(noisy.true_labels.tolist(), noisy.given_labels.tolist(), strict=True):
        assert label in (true, ASYMMETRIC_PAIRS[name].get(true, true))


def test_asymmetric_reaches_the_nominal_rate_in_every_class_of_a_pair(make_dataset):
    matrix = corrupt(make_dataset(20000, 10, name="cifar10"), "asymmetric", 0.4, 0).transition_matrix
    for source, destination in {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}.items():
        assert float(matrix[source, destination]) == pytest.approx(0.4, abs=0.05)


def test_asymmetric_cifar100_goes_round_inside_each_superclass(make_dataset):
    noisy = corrupt(make_dataset(2000, 100, name="cifar100"), "asymmetric", 0.5, 0)
    moved = noisy.given_labels != noisy.true_labels
    superclass = torch.tensor(CIFAR100_SUPERCLASS)
    assert torch.equal(superclass[noisy.given_labels], superclass[noisy.true_labels])
    pairs = set(zip(noisy.true_labels[moved].tolist(), noisy.given_labels[moved].tolist(), strict=True))
    assert len(pairs) == 100  # every class has one target
    # Walking along the pairs from any class visits its five siblings and comes back.
    step = dict(pairs)
    for start in range(100):
        walk = [start]
        for _ in range(5):
            walk.append(step[walk[-1]])
        assert walk[-1] == start and len(set(walk)) == 5


def test_cifar100_superclasses_have_five_members_each_and_the_known_ones():
    assert np.bincount(CIFAR100_SUPERCLASS).tolist() == [5] * 20
    by_name = dict(zip(CIFAR100_CLASSES, CIFAR100_SUPERCLASS, strict=True))
    for siblings in (
        "beaver dolphin otter seal whale",
        "maple_tree oak_tree palm_tree pine_tree willow_tree",
        "bicycle bus motorcycle pickup_truck train",
        "baby boy girl man woman",
    ):
        assert len({by_name[name] for name in siblings.split()}) == 1


def test_asymmetric_noise_without_known_pairs_is_refused(make_dataset):
    with pytest.raises(InputError, match="pairflip"):
        corrupt(make_dataset(), "asymmetric", 0.4, 0)


@given(rate=any_rate, seed=any_seed, scaling=st.sampled_from(["raw", "unit", "normalised"]))
def test_idn_xia_flip_probabilities_average_to_the_truncated_normal_and_the_labels_follow_them(
    make_dataset, rate, seed, scaling
):
    n = 3000
    noisy = corrupt(make_dataset(n, 10), "idn_xia", rate, seed, scaling=scaling)
    q = noisy.flip_prob
    assert q.min() >= 0 and q.max() <= 1
    expected = truncnorm(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
    assert abs(float(q.mean()) - expected.mean()) < 5 * expected.std() / math.sqrt(n)
    sampling_error = float((q * (1 - q)).sum().sqrt()) / n
    assert abs(noisy.rate - float(q.mean())) < 5 * sampling_error


# -- noise that asks a model trained on clean labels


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits").subset(400)


@pytest.mark.parametrize("rate", [0.05, 0.25, 0.6])
def test_seal_realises_its_rate_exactly(digits, rate):
    noisy = corrupt(digits, "idn_seal", rate, 0, epochs=3)
    assert int((noisy.given_labels != digits.train_labels).sum()) == round(rate * 400)


@pytest.mark.parametrize("noise_type", ["I", "II", "III"])
@pytest.mark.parametrize("rate", [0.2, 0.45])
def test_pmd_realises_its_rate_within_a_fifth_of_a_point(digits, noise_type, rate):
    noisy = corrupt(digits, "idn_pmd", rate, 0, type=noise_type, epochs=3)
    assert abs(noisy.rate - rate) <= 0.002
    assert f"type={noise_type} epochs=3 factor=" in noisy.identity
    # The probabilities are those of the draw: their sum is the expected number of wrong labels.
    expected, variance = noisy.flip_prob.sum(), (noisy.flip_prob * (1 - noisy.flip_prob)).sum()
    assert abs(float(expected) - 400 * noisy.rate) < 5 * float(variance.sqrt()) + 1


@pytest.mark.parametrize("kind", ["idn_pmd", "idn_seal"])
def test_noise_made_by_a_model_is_the_same_again_and_leaves_the_global_random_state(
    digits, kind, unchanged_global_state, tmp_path, monkeypatch
):
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path / "first"))
    with unchanged_global_state():
        first = corrupt(digits, kind, 0.3, 7, epochs=2)
    monkeypatch.setenv("NLCORE_DATA", str(tmp_path / "second"))  # where nothing is kept yet
    second = corrupt(digits, kind, 0.3, 7, epochs=2)
    assert torch.equal(first.given_labels, second.given_labels) and first.identity == second.identity


def test_a_rate_that_pmd_cannot_reach_is_one_clear_line(digits):
    with pytest.raises(InputError, match=r"idn_pmd of type II cannot make 99.5% .* wrong") as error:
        corrupt(digits, "idn_pmd", 0.995, 0, type="II", epochs=3)
    assert "\n" not in str(error.value)


def test_wrong_options_are_found_before_a_network_is_trained(digits, monkeypatch):
    monkeypatch.setattr("nlcore.training.clean_model.clean_predictions", lambda *a: pytest.fail("trained"))
    for options in ({"type": "IV"}, {"type": 1}, {"epochs": 0}, {"epochs": 2.5}, {"epochs": True}):
        with pytest.raises(InputError):
            corrupt(digits, "idn_pmd", 0.4, 0, **options)


# -- open-set noise, and one noise after another


def test_open_set_noise_keeps_every_label_and_flags_exactly_its_share(make_dataset):
    dataset, source = make_dataset(200, 5), make_dataset(150, 3, seed=1, name="elsewhere")
    noisy = corrupt(dataset, "open_set", 0.4, 0, source=source)
    assert torch.equal(noisy.given_labels, dataset.train_labels)
    assert noisy.rate == 0.4 == float(noisy.open_set.double().mean())
    assert "source=elsewhere[150]" in noisy.identity
    assert torch.equal(noisy.transition_matrix, torch.eye(5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "needs the option source"),
        ("digits", r"are \(1, 8, 8\), those of made \(1, 4, 4\)"),
        ("mnist", "unknown dataset 'mnist'"),
    ],
)
def test_a_source_that_does_not_fit_is_refused(make_dataset, source, words):
    with pytest.raises(InputError, match=words):
        corrupt(make_dataset(), "open_set", 0.4, 0, source=source)


def test_a_source_with_too_few_images_is_refused(make_dataset):
    with pytest.raises(InputError, match="needs 80 images, small has 50"):
        corrupt(make_dataset(200), "open_set", 0.4, 0, source=make_dataset(50, 5, name="small"))


def test_mixed_noise_on_saved_open_set_labels_keeps_the_foreign_images(make_dataset, tmp_path):
    dataset, source = make_dataset(200, 10), make_dataset(200, 10, seed=1, name="foreign")
    first = corrupt(dataset, "open_set", 0.2, 0, source=source)
    first.save(tmp_path / "open.npz")
    noisy = corrupt(dataset, "mixed", 0.3, 0, first=f"file:{tmp_path / 'open.npz'}")
    assert torch.equal(noisy.outside_rows, first.outside_rows)
    assert torch.equal(noisy.shown(dataset).train_images, first.shown(dataset).train_images)
    assert not torch.equal(noisy.given_labels, first.given_labels)


def test_mixed_noise_on_saved_labels_without_a_truth_is_refused(make_dataset, tmp_path):
    dataset = make_dataset(200, 10)
    corrupt(dataset, "given", None, 0).save(tmp_path / "given.npz")
    with pytest.raises(InputError, match=r"mixed noise needs true labels, and file:.*given\.npz has none"):
        corrupt(dataset, "mixed", 0.3, 0, first=f"file:{tmp_path / 'given.npz'}")


@given(rate=st.floats(0.05, 0.6), second_rate=st.floats(0.05, 0.6), seed=any_seed)
def test_mixed_noise_is_the_second_on_what_the_first_gave(make_dataset, rate, second_rate, seed):
    dataset = make_dataset(2000, 10)
    first = corrupt(dataset, "pairflip", rate, seed)
    noisy = corrupt(
        dataset,
        "mixed",
        rate,
        seed,
        first="pairflip",
        second="symmetric",
        second_rate=second_rate,
        second_options={"include_true": False},
    )
    changed = noisy.given_labels != first.given_labels
    assert int(changed.sum()) == round(second_rate * 2000)
    # The second chooses its samples anew: it hits the first one's as often as chance does.
    wrong = first.given_labels != dataset.train_labels
    share = float(changed[wrong].double().mean())
    assert abs(share - second_rate) < 5 * math.sqrt(second_rate / int(wrong.sum()))
    assert first.identity in noisy.identity and "symmetric" in noisy.identity


def test_people_s_noise_can_be_the_first_of_two(tens, tmp_path):
    first = corrupt(tens, "pairflip", 0.3, 0)
    first.save(tmp_path / "labels.npz")
    name = f"file:{tmp_path / 'labels.npz'}"
    noisy = corrupt(tens, "mixed", 0.2, 0, first=name, second_options={"include_true": False})
    assert int((noisy.given_labels != first.given_labels).sum()) == round(0.2 * 400)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"first": "open_set"}, "cannot begin with open_set"),
        ({"first": "nothing"}, "unknown noise 'nothing'"),
        ({"second": "idn_seal"}, "unknown second noise 'idn_seal'"),
        ({"second_rate": 1.5}, r"\[0, 1\), not 1.5"),
        ({"second_rate": "much"}, r"\[0, 1\), not 'much'"),
        ({"second_options": {"scale": 1}}, "unknown option 'scale' of symmetric"),
    ],
)
def test_two_noises_that_do_not_go_together_are_refused(tens, options, words):
    with pytest.raises(InputError, match=words):
        corrupt(tens, "mixed", 0.2, 0, **options)


# -- labels from files


@pytest.fixture(scope="module")
def cifar(make_dataset):
    """A dataset that has CIFAR-10's name and number of images, if not its pictures."""
    return make_dataset(50_000, 10, name="cifar10")


def shuffled_labels(dataset, rate: float = 0.3) -> torch.Tensor:
    return corrupt(dataset, "symmetric", rate, 5).given_labels


@pytest.fixture
def human_file(cifar, data_folder):
    """A file laid out as CIFAR-10N's, in the data folder."""
    sets = {
        name: shuffled_labels(cifar, rate).numpy()
        for name, rate in (("aggre_label", 0.1), ("worse_label", 0.4), ("random_label1", 0.2))
    }
    path = data_folder / "CIFAR-10_human.pt"
    torch.save({"clean_label": cifar.train_labels.numpy()} | sets, path)
    yield sets
    path.unlink()


def test_human_labels_load_by_their_name(cifar, human_file):
    noisy = corrupt(cifar, "human:worst", None, 0)
    assert noisy.given_labels.tolist() == human_file["worse_label"].tolist()
    assert noisy.rate == pytest.approx((human_file["worse_label"] != cifar.train_labels.numpy()).mean())
    assert noisy.identity.startswith("human:worst CIFAR-10_human.pt worse_label sha256=")


def test_human_labels_of_a_subset_are_those_of_its_images(cifar, human_file):
    subset = cifar.subset(1000)
    noisy = corrupt(subset, "human:aggre", None, 0)
    assert noisy.given_labels.tolist() == human_file["aggre_label"][subset.train_index.numpy()].tolist()
    assert "cifar10[1000 of 50000]" in noisy.identity


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("human", "unknown noise 'human'.*human:SET"),
        ("file", "unknown noise 'file'.*file:PATH"),
        ("symmetric:0.4", "named symmetric; say its rate apart: --rate 0.4, or rate=0.4"),
        (
            "human:best",
            "unknown human labels of cifar10 'best'; choose one of: aggre, random1, random2, random3, worst",
        ),
    ],
)
def test_a_kind_of_the_wrong_form_is_refused(cifar, kind, words):
    with pytest.raises(InputError, match=words):
        corrupt(cifar, kind, 0.4, 0)


def test_human_labels_of_another_dataset_are_refused(tens):
    with pytest.raises(InputError, match="human labels 'digits'; choose one of: cifar10, cifar100, cifar100_coarse"):
        corrupt(tens, "human:worst", None, 0)


def test_the_first_45000_labels_of_plc_are_for_the_first_45000_images(cifar, tmp_path):
    labels = shuffled_labels(cifar)[:45_000]
    np.save(tmp_path / "cifar10-1-0.35.npy", labels.numpy())
    noisy = corrupt(cifar, f"file:{tmp_path / 'cifar10-1-0.35.npy'}", None, 0)
    assert torch.equal(noisy.given_labels, labels) and torch.equal(noisy.rows, torch.arange(45_000))
    assert len(noisy.shown(cifar).train_images) == 45_000
    subset = cifar.subset(1000)
    part = corrupt(subset, f"file:{tmp_path / 'cifar10-1-0.35.npy'}", None, 0)
    shown = part.shown(subset)
    assert 850 < len(shown.train_labels) < 950 and int(shown.train_index.max()) < 45_000
    assert torch.equal(part.given_labels, labels[shown.train_index])


def write(path, given, true=None, index=None) -> str:
    """A CSV as `nlcore noise` writes it, as the name of a noise."""
    columns = {"index": index, "given_label": given, "true_label": true}
    present = {name: values for name, values in columns.items() if values is not None}
    rows = zip(*(np.asarray(v).tolist() for v in present.values()), strict=True)
    path.write_text("\n".join([",".join(present), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return f"file:{path}"


def test_labels_with_row_numbers_find_their_images_in_any_order(tens, tmp_path):
    given = shuffled_labels(tens)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    kind = write(tmp_path / "labels.csv", given[order], tens.train_labels[order], order)
    assert torch.equal(corrupt(tens, kind, None, 0).given_labels, given)
    subset = tens.subset(100)
    assert torch.equal(corrupt(subset, kind, None, 0).given_labels, given[subset.train_index])


def test_a_file_may_hold_just_the_labels_of_a_subset(tens, tmp_path):
    subset = tens.subset(100)
    given = shuffled_labels(subset)
    kind = write(tmp_path / "labels.csv", given, subset.train_labels)
    assert torch.equal(corrupt(subset, kind, None, 0).given_labels, given)


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_a_subset_of_the_noises_seed_is_noticed(suffix, tmp_path, caplog):
    """Both are the first places of one permutation: nearly all labels of the subset are wrong."""
    digits, path = load_dataset("digits"), tmp_path / f"labels{suffix}"

    def kept(seed: int) -> str:
        noisy = corrupt(digits, "symmetric", 0.4, seed)
        noisy.save(path) if suffix == ".npz" else write_csv(path, digits, noisy)
        return f"file:{path}"

    assert corrupt(digits.subset(200), kept(1), None, 0).rate == pytest.approx(0.36, abs=0.1) and not caplog.messages
    assert corrupt(digits.subset(200), kept(0), None, 0).rate > 0.85
    (message,) = caplog.messages
    assert "93 % of the labels are wrong in these 200 samples of digits, 36 % in all" in message.replace("92 %", "93 %")
    assert "draw the labels with another: --seed 1" in message


def test_what_is_no_dataset_no_kind_or_no_opinion_is_one_line():
    digits = load_dataset("digits")
    with pytest.raises(InputError, match="must be of type Dataset, not str; load_dataset makes one"):
        corrupt("digits", "symmetric", 0.4, 0)
    with pytest.raises(InputError, match="the kind of noise must be of type str, not NoneType"):
        corrupt(digits, None, 0.4, 0)
    with pytest.raises(InputError, match="an opinion must be of type CleanPredictions, not list"):
        corrupt(digits, "idn_pmd", 0.4, 0, opinion=[[1.0]])


def test_saved_labels_are_a_label_file_too_and_keep_all_that_they_know(tens, make_dataset, tmp_path):
    for kind, options in (("idn_xia", {}), ("open_set", {"source": make_dataset(200, 5, seed=1)})):
        noisy = corrupt(tens, kind, 0.4, 0, **options)
        noisy.save(tmp_path / "labels.npz")
        again = corrupt(tens, f"file:{tmp_path / 'labels.npz'}", None, 0)
        assert torch.equal(again.given_labels, noisy.given_labels) and again.rate == noisy.rate
        assert torch.equal(again.open_set, noisy.open_set)
        assert torch.equal(again.shown(tens).train_images, noisy.shown(tens).train_images)
        assert (again.flip_prob is None) == (noisy.flip_prob is None)
        assert noisy.identity in again.identity and str(tmp_path) not in again.identity


@pytest.mark.parametrize("name", ["labels.npz", "labels.NPZ"])
def test_saved_labels_of_the_whole_set_serve_a_subset(tens, make_dataset, name, tmp_path):
    for kind, options in (("idn_xia", {}), ("open_set", {"source": make_dataset(200, 5, seed=1)})):
        noisy, subset = corrupt(tens, kind, 0.4, 0, **options), tens.subset(100)
        noisy.save(tmp_path / name)
        part = corrupt(subset, f"file:{tmp_path / name}", None, 0)
        assert torch.equal(part.given_labels, noisy.given_labels[subset.train_index])
        shown = noisy.shown(tens).train_images[subset.train_index]
        assert torch.equal(part.shown(subset).train_images, shown)
        wrong = part.given_labels != part.true_labels
        assert part.rate == pytest.approx(float(wrong.double().mean())) and "100 of 400" in part.identity


def test_saved_labels_of_a_subset_serve_a_smaller_one_by_its_rows(tens, tmp_path):
    subset = tens.subset(200)
    noisy = corrupt(subset, "symmetric", 0.4, 0)
    noisy.save(tmp_path / "labels.npz")
    smaller = subset.subset(50)
    part = corrupt(smaller, f"file:{tmp_path / 'labels.npz'}", None, 0)
    by_row = dict(zip(subset.train_index.tolist(), noisy.given_labels.tolist(), strict=True))
    assert part.given_labels.tolist() == [by_row[row] for row in smaller.train_index.tolist()]


def test_saved_labels_of_before_they_knew_their_rows_are_read(tens, tmp_path):
    noisy, subset = corrupt(tens, "symmetric", 0.4, 0), tens.subset(100)
    replace(noisy, index=None).save(tmp_path / "labels.npz")
    kind = f"file:{tmp_path / 'labels.npz'}"
    assert torch.equal(corrupt(tens, kind, None, 0).given_labels, noisy.given_labels)
    assert torch.equal(corrupt(subset, kind, None, 0).given_labels, noisy.given_labels[subset.train_index])


def test_saved_labels_of_some_rows_only_leave_the_other_images_out(cifar, tmp_path):
    np.save(tmp_path / "plc.npy", shuffled_labels(cifar)[:45_000].numpy())
    first = corrupt(cifar, f"file:{tmp_path / 'plc.npy'}", None, 0)
    first.save(tmp_path / "labels.npz")
    for dataset in (cifar, cifar.subset(1000)):
        part = corrupt(dataset, f"file:{tmp_path / 'labels.npz'}", None, 0)
        shown = part.shown(dataset)
        assert int(shown.train_index.max()) < 45_000
        assert torch.equal(part.given_labels, first.given_labels[shown.train_index])


def test_saved_labels_of_other_images_are_refused(tens, make_dataset, tmp_path):
    corrupt(make_dataset(400, 10, seed=1), "symmetric", 0.4, 0).save(tmp_path / "other.npz")
    assert "true labels disagree" in file_error(tens, f"file:{tmp_path / 'other.npz'}")
    corrupt(tens.subset(100), "symmetric", 0.4, 0).save(tmp_path / "short.npz")
    assert "has 100 labels, digits has 400" in file_error(tens, f"file:{tmp_path / 'short.npz'}")
    corrupt(make_dataset(400, 12, seed=1), "symmetric", 0.4, 0).save(tmp_path / "more.npz")
    assert "must lie in [0, 10)" in file_error(tens, f"file:{tmp_path / 'more.npz'}")


def test_the_file_s_content_is_part_of_the_identity_but_its_folder_is_not(tens, tmp_path):
    kind = write(tmp_path / "labels.csv", shuffled_labels(tens))
    before = corrupt(tens, kind, None, 0).identity
    assert str(tmp_path) not in before and "labels.csv" in before
    write(tmp_path / "labels.csv", shuffled_labels(tens, 0.5))
    assert corrupt(tens, kind, None, 0).identity != before


def file_error(dataset, kind: str) -> str:
    with pytest.raises(InputError) as error:
        corrupt(dataset, kind, None, 0)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_of_the_wrong_length_is_refused(tens, tmp_path):
    message = file_error(tens, write(tmp_path / "labels.csv", shuffled_labels(tens)[:-1]))
    assert "labels.csv has 399 labels, digits has 400 training images" in message


def test_labels_out_of_range_are_refused_with_the_first_bad_one(tens, tmp_path):
    given = shuffled_labels(tens)
    given[7] = 10
    message = file_error(tens, write(tmp_path / "labels.csv", given))
    assert "labels.csv" in message and "label 10 at index 7" in message
    given[7] = -1
    assert "label -1 at index 7" in file_error(tens, write(tmp_path / "labels.csv", given))


def test_labels_in_another_order_are_refused(tens, tmp_path):
    given, true = shuffled_labels(tens), tens.train_labels
    message = file_error(tens, write(tmp_path / "labels.csv", given.flip(0), true.flip(0)))
    assert "true labels disagree with digits at" in message and "of 400 images (image" in message


def test_row_numbers_that_miss_an_image_or_name_one_twice_are_refused(tens, tmp_path):
    given, index = shuffled_labels(tens), torch.arange(400)
    missing = file_error(tens, write(tmp_path / "labels.csv", given[1:], index=index[1:]))
    assert "none for image 0" in missing
    index[5] = 4
    assert "different images" in file_error(tens, write(tmp_path / "labels.csv", given, index=index))
    index[5] = 400
    assert "different images" in file_error(tens, write(tmp_path / "labels.csv", given, index=index))


def test_an_id_that_names_no_rows_is_asked_about_and_can_be_left_aside(tens, tmp_path):
    given = shuffled_labels(tens)
    lines = ["id,label", *(f"{1000 + i},{label}" for i, label in enumerate(given.tolist()))]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    kind = f"file:{tmp_path / 'labels.csv'}"
    message = file_error(tens, kind)
    assert "column 'id'" in message and "option index=none" in message
    assert torch.equal(corrupt(tens, kind, None, 0, index="none").given_labels, given)


def test_one_label_too_many_may_be_a_header(tens, tmp_path):
    (tmp_path / "labels.csv").write_text("\n".join(map(str, [0, *tens.train_labels.tolist()])))
    assert "has 401 labels" in (message := file_error(tens, f"file:{tmp_path / 'labels.csv'}")) and "header" in message


def test_labels_counted_from_1_are_refused_as_such(tens, tmp_path):
    assert "counted from 1 to 10" in file_error(tens, write(tmp_path / "labels.csv", shuffled_labels(tens) + 1))


def test_names_of_classes_are_labels_of_a_file(tens, tmp_path):
    given = shuffled_labels(tens)
    (tmp_path / "labels.txt").write_text("\n".join(tens.class_names[label] for label in given))
    assert torch.equal(corrupt(tens, f"file:{tmp_path / 'labels.txt'}", None, 0).given_labels, given)


def test_labels_that_hardly_agree_with_the_truth_are_warned_of(tens, tmp_path, caplog):
    corrupt(tens, write(tmp_path / "labels.csv", shuffled_labels(tens, 0.7)), None, 0)
    assert caplog.messages == []
    shuffled = tens.train_labels[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    corrupt(tens, write(tmp_path / "labels.csv", shuffled), None, 0)
    (message,) = caplog.messages
    assert "labels.csv: 89 %" in message and "another order, counted from 1" in message


def test_cifar_n_s_files_for_tensorflow_are_told_apart(cifar, tmp_path):
    sets = np.empty((), object)
    order = torch.randperm(50_000, generator=torch.Generator().manual_seed(0))
    labels = cifar.train_labels[order].numpy()
    sets[()] = {"clean_label": labels, "worse_label": labels}
    np.save(tmp_path / "CIFAR-10_human_ordered.npy", sets)
    with pytest.raises(InputError, match=r"order of TensorFlow Datasets: take the \.pt file"):
        corrupt(cifar, f"file:{tmp_path / 'CIFAR-10_human_ordered.npy'}", None, 0, key="worse_label")


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_a_label_file_that_would_run_code_is_refused_and_runs_none(tens, tmp_path):
    labels = shuffled_labels(tens).numpy()
    torch.save({"noise_label_train": labels, "more": Malicious(tmp_path / "ran")}, tmp_path / "labels.pt")
    message = file_error(tens, f"file:{tmp_path / 'labels.pt'}")
    assert "labels.pt" in message and not (tmp_path / "ran").exists()


# -- time


def test_a_million_labels_take_less_than_two_seconds(make_dataset, tmp_path):
    dataset = make_dataset(1_000_000, 14, name="clothing1m")
    np.save(tmp_path / "labels.npy", dataset.train_labels.numpy())
    for kind in ("symmetric", "pairflip", f"file:{tmp_path / 'labels.npy'}"):
        started = time.perf_counter()
        corrupt(dataset, kind, 0.4, 0)
        assert time.perf_counter() - started < 2, kind


# -- labels as they come, and bad input


def test_given_noise_takes_the_labels_as_they_are_and_claims_no_truth(tens):
    noisy = corrupt(tens, "given", 0.4, 0)
    assert torch.equal(noisy.given_labels, tens.train_labels)
    assert noisy.true_labels is None and noisy.rate is None and noisy.transition_matrix is None


@pytest.mark.parametrize("rate", [1.0, -0.1, 1.5, math.nan])
def test_a_rate_outside_zero_to_one_is_refused(tens, rate):
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        corrupt(tens, "symmetric", rate, 0)


def test_an_unknown_kind_lists_the_valid_ones(tens):
    with pytest.raises(InputError, match=r"'gaussian'.*symmetric, asymmetric, .*human:SET, file:PATH, given"):
        corrupt(tens, "gaussian", 0.4, 0)


def test_an_unknown_option_lists_the_valid_ones(tens):
    with pytest.raises(InputError, match=r"'scale'.*valid options: scaling"):
        corrupt(tens, "idn_xia", 0.4, 0, scale="raw")


def test_an_unknown_scaling_lists_the_valid_ones(tens):
    with pytest.raises(InputError, match=r"'pixel'.*raw, unit, normalised"):
        corrupt(tens, "idn_xia", 0.4, 0, scaling="pixel")


def test_an_option_of_the_wrong_type_is_refused(tens):
    with pytest.raises(InputError, match="include_true of symmetric noise must be of type bool, not 'maybe'"):
        corrupt(tens, "symmetric", 0.4, 0, include_true="maybe")


@pytest.mark.parametrize("rate", [None, "0.4"])
def test_a_rate_that_is_no_number_is_refused(tens, rate):
    with pytest.raises(InputError, match="rate must lie in"):
        corrupt(tens, "symmetric", rate, 0)


def test_every_kind_is_split_from_its_argument():
    for kind in NOISES:
        argument = {"human": "worst", "file": "a:b.pt", "annotators": "votes.csv"}.get(kind, "")
        assert split_kind(f"{kind}:{argument}" if argument else kind) == (kind, argument)


# -- a clean model's opinion, passed in


@pytest.mark.parametrize("kind", ["idn_pmd", "idn_seal"])
def test_an_opinion_that_is_passed_is_asked_and_nothing_is_trained(digits, kind, monkeypatch, rng):
    monkeypatch.setattr("nlcore.training.clean_model.clean_predictions", lambda *a: pytest.fail("trained"))
    n, k = len(digits.train_labels), digits.num_classes
    doubts = torch.randn(n, k, generator=rng) + 3 * torch.nn.functional.one_hot(digits.train_labels, k)
    opinion = CleanPredictions(doubts, torch.zeros(n, 2), doubts.softmax(1))
    for ask in (corrupt, noise.corrupt):
        given = ask(digits, kind, 0.3, 0, opinion=opinion).given_labels
        wrong = given != digits.train_labels
        assert float(wrong.double().mean()) == pytest.approx(0.3, abs=0.01)
        doubted = doubts.topk(2).indices  # it is one of the two most likely classes that a label falls to
        assert bool((given[wrong, None] == doubted[wrong]).any(1).all())


@pytest.mark.parametrize("kind", ["idn_pmd", "idn_seal"])
def test_without_training_an_opinion_has_to_be_passed_and_to_fit(digits, kind):
    with pytest.raises(InputError, match="opinion of a clean model"):
        noise.corrupt(digits, kind, 0.3, 0)
    short = CleanPredictions(torch.zeros(3, 10), torch.zeros(3, 2), torch.full((3, 10), 0.1))
    with pytest.raises(InputError, match=r"\(3, 10\)"):
        noise.corrupt(digits, kind, 0.3, 0, opinion=short)


@pytest.mark.parametrize(
    ("kind", "rate", "options", "expected"),
    [
        ("symmetric", 0.4, {}, None),
        ("human:worst", None, {}, None),
        ("idn_seal", 0.4, {"epochs": 3}, 3),
        ("idn_pmd", 0.0, {}, None),
        ("mixed", 0.4, {"first": "idn_pmd", "first_options": {"epochs": 4}}, 4),
        ("mixed", 0.4, {"first": "idn_xia"}, None),
    ],
)
def test_a_noise_says_for_how_long_its_clean_model_is_trained(kind, rate, options, expected):
    assert opinion_epochs(kind, rate, options) == expected
