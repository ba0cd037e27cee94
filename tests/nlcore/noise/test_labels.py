from dataclasses import fields

import numpy as np
import pytest
import torch

from nlcore import InputError, NoisyLabels, corrupt
from nlcore.noise.labels import NO_CLASS, realised_transition


def equal(a, b) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a is b or a == b


@pytest.fixture
def every_kind(make_dataset):
    """Noisy labels with and without truth, flip probabilities, rows and foreign images."""
    dataset = make_dataset(200, 10)
    plain = corrupt(dataset, "symmetric", 0.4, 0)
    return [
        plain,
        corrupt(dataset, "idn_xia", 0.4, 0),
        corrupt(dataset, "given", None, 0),
        corrupt(dataset, "open_set", 0.3, 0, source=make_dataset(100, 5, seed=1)),
        NoisyLabels.measured(plain.given_labels[:50], plain.true_labels[:50], 10, "part", rows=torch.arange(50)),
    ]


def test_labels_at_some_samples_keep_all_that_is_known_of_them(every_kind):
    samples = torch.tensor([40, 3, 17])
    for noisy in every_kind:
        part = noisy.at(samples)
        assert torch.equal(part.given_labels, noisy.given_labels[samples])
        assert torch.equal(part.open_set, noisy.open_set[samples])
        if noisy.flip_prob is not None:
            assert torch.equal(part.flip_prob, noisy.flip_prob[samples])
        if noisy.true_labels is not None:
            assert part.rate == pytest.approx(float((part.given_labels != part.true_labels).double().mean()))
    foreign = every_kind[3]
    rows = foreign.outside_rows[:5]
    assert torch.equal(foreign.at(rows).outside_images, foreign.outside_images[:5])


def test_what_is_saved_comes_back_whole(every_kind, tmp_path):
    for number, noisy in enumerate(every_kind):
        noisy.save(tmp_path / f"{number}.npz")
        again = NoisyLabels.load(tmp_path / f"{number}.npz")
        for field in fields(NoisyLabels):
            assert equal(getattr(noisy, field.name), getattr(again, field.name)), (number, field.name)


def test_a_saved_file_holds_no_pickle(every_kind, tmp_path):
    every_kind[3].save(tmp_path / "labels.npz")
    with np.load(tmp_path / "labels.npz", allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_saving_makes_the_folder_and_leaves_one_file(every_kind, tmp_path):
    every_kind[0].save(tmp_path / "a" / "b" / "labels.npz")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["labels.npz"]


def test_a_place_that_cannot_be_written_is_one_clear_line(every_kind, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write") as error:
        every_kind[0].save(tmp_path / "file" / "labels.npz")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 half of one"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "labels.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"labels\.npz does not hold saved labels") as error:
        NoisyLabels.load(tmp_path / "labels.npz")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"labels\.npz"):
        NoisyLabels.load(tmp_path / "labels.npz")


def test_realised_transition_of_a_hand_made_example():
    matrix = realised_transition(torch.tensor([0, 0, 0, 0, 1]), torch.tensor([0, 0, 0, 1, 1]), 2)
    assert matrix.tolist() == [[0.75, 0.25], [0.0, 1.0]]


def test_images_of_no_class_count_as_wrong_but_not_in_the_transition_matrix():
    true, given = torch.tensor([0, 0, NO_CLASS, 1]), torch.tensor([0, 1, 1, 1])
    noisy = NoisyLabels.measured(given, true, 2, "made")
    assert noisy.rate == 0.5
    assert noisy.transition_matrix.tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_the_dataset_is_shown_as_it_is_where_nothing_changes(make_dataset):
    dataset = make_dataset()
    assert corrupt(dataset, "symmetric", 0.4, 0).shown(dataset) is dataset


def test_labels_for_some_rows_show_only_these(make_dataset):
    dataset = make_dataset(100, 5)
    rows = torch.arange(0, 100, 2)
    noisy = NoisyLabels.measured(dataset.train_labels[rows], dataset.train_labels[rows], 5, "half", rows=rows)
    shown = noisy.shown(dataset)
    assert torch.equal(shown.train_images, dataset.train_images[rows]) and torch.equal(shown.train_index, rows)


def test_foreign_images_are_shown_in_their_places_and_flagged_and_the_dataset_stays_as_it_was(make_dataset):
    dataset, source = make_dataset(100, 5), make_dataset(60, 3, seed=1)
    before = dataset.train_images.clone()
    noisy = corrupt(dataset, "open_set", 0.3, 0, source=source)
    shown = noisy.shown(dataset)
    assert int(noisy.open_set.sum()) == 30 and torch.equal(noisy.open_set, noisy.true_labels == NO_CLASS)
    assert torch.equal(dataset.train_images, before)
    assert torch.equal(shown.train_images[~noisy.open_set], before[~noisy.open_set])
    foreign = {bytes(image.numpy()) for image in source.train_images}
    put = [bytes(image.numpy()) for image in shown.train_images[noisy.open_set]]
    assert set(put) <= foreign and len(set(put)) == 30  # none twice
