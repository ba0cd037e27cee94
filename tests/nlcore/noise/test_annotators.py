"""Several people's labels: majority, ties, missing votes, and what becomes of them in `corrupt`."""

import numpy as np
import pytest
import torch

from nlcore import InputError, NoisyLabels, corrupt
from nlcore.noise.annotators import majority, read_votes


def write(path, text):
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def tens(make_dataset):
    return make_dataset(400, 10)


@pytest.fixture(scope="module")
def votes(tens) -> np.ndarray:
    """Five annotators (400, 5): each is right with probability 0.6 and votes on two images of three."""
    g = np.random.default_rng(0)
    right = tens.train_labels.numpy()[:, None]
    table = np.where(g.random((400, 5)) < 0.6, right, g.integers(0, 10, (400, 5)))
    table[g.random((400, 5)) < 1 / 3] = -1
    table[:, 0] = np.where((table < 0).all(1), right[:, 0], table[:, 0])
    return table


def test_the_majority_of_a_hand_made_example():
    given, share, ties = majority(torch.tensor([[2, 2, 1], [-1, 0, -1]]), 3, torch.Generator())
    assert given.tolist() == [2, 0] and ties == 0
    torch.testing.assert_close(share, torch.tensor([[0, 1 / 3, 2 / 3], [1, 0, 0]]))


def test_ties_fall_evenly_on_the_tied_classes_by_the_seed():
    table = torch.tensor([[0, 2]]).expand(10_000, 2)
    given, _, ties = majority(table, 3, torch.Generator().manual_seed(0))
    assert ties == 10_000 and set(given.tolist()) == {0, 2}
    assert float((given == 0).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(given, majority(table, 3, torch.Generator().manual_seed(1))[0])


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".json"])
def test_corrupt_takes_the_votes_of_a_file(tens, votes, tmp_path, suffix):
    path = tmp_path / f"votes{suffix}"
    if suffix == ".npy":
        np.save(path, np.where(votes < 0, np.nan, votes))
    elif suffix == ".json":
        write(path, str([[None if v < 0 else int(v) for v in row] for row in votes]).replace("None", "null"))
    else:
        order = np.random.default_rng(1).permutation(400)
        lines = [",".join([str(i), *("" if v < 0 else str(v) for v in votes[i])]) for i in order]
        write(path, "\n".join(["index,a,b,c,d,e", *lines]))
    noisy = corrupt(tens, f"annotators:{path}", None, 3)
    for row, given, share in zip(votes, noisy.given_labels.tolist(), noisy.soft_labels, strict=True):
        counts = np.bincount(row[row >= 0], minlength=10)
        assert counts[given] == counts.max()
        np.testing.assert_allclose(share, counts / counts.sum(), rtol=1e-6)
    assert noisy.rate == pytest.approx(float((noisy.given_labels != tens.train_labels).double().mean()))
    assert "5 annotators" in noisy.identity and "ties seed=3" in noisy.identity


def test_a_subset_has_the_votes_of_its_images_and_keeps_their_shares_in_a_file(tens, votes, tmp_path):
    np.save(tmp_path / "votes.npy", votes)
    subset = tens.subset(100)
    noisy = corrupt(subset, f"annotators:{tmp_path / 'votes.npy'}", None, 0)
    whole = corrupt(tens, f"annotators:{tmp_path / 'votes.npy'}", None, 0)
    assert torch.equal(noisy.soft_labels, whole.soft_labels[subset.train_index])
    whole.save(tmp_path / "labels.npz")
    assert torch.equal(NoisyLabels.load(tmp_path / "labels.npz").soft_labels, whole.soft_labels)
    part = corrupt(subset, f"file:{tmp_path / 'labels.npz'}", None, 0)
    assert torch.equal(part.soft_labels, noisy.soft_labels)


def test_an_image_without_a_vote_is_left_out_with_a_warning(tens, votes, tmp_path, caplog):
    table = votes.copy()
    table[7] = -1
    np.save(tmp_path / "votes.npy", table)
    noisy = corrupt(tens, f"annotators:{tmp_path / 'votes.npy'}", None, 0)
    assert noisy.rows.tolist() == [row for row in range(400) if row != 7]
    assert len(noisy.shown(tens).train_images) == 399 and "1 of 400 images have no vote" in caplog.text


def test_names_of_classes_are_votes_and_true_labels_are_no_annotator(tmp_path):
    path = write(tmp_path / "votes.csv", "id,ann,bob,true_label\n1,cat,,0\n0,dog,cat,1\n")
    file = read_votes(path, class_names=("cat", "dog"))
    assert file.given_labels.tolist() == [[0, -1], [1, 0]] and file.index.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("index,annotator,label\n0,a,1\n", "one row an image and one column an annotator"),
        ("a,b\n1,many\n", "holds 'many'"),
        ("index\n0\n", "holds no column of votes"),
    ],
)
def test_a_table_that_is_no_votes_is_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words) as error:
        read_votes(write(tmp_path / "votes.csv", text))
    assert "\n" not in str(error.value)


def test_a_vote_for_no_class_is_named(tens, votes, tmp_path):
    table = votes.copy()
    table[5, 2] = 10
    np.save(tmp_path / "votes.npy", table)
    with pytest.raises(InputError, match=r"\[0, 10\).*vote 10 of annotator 2 in row 5"):
        corrupt(tens, f"annotators:{tmp_path / 'votes.npy'}", None, 0)
