import time

import pytest
import torch

from nlcore import InputError, corrupt, load_dataset
from nlcore.data import glyphs
from nlcore.data.glyphs import FONTS, LETTERS, UNSEEN_FONTS, composed, draw_glyphs, letter_masks, load_glyphs
from nlcore.noise.models import ASYMMETRIC_PAIRS


@pytest.fixture(scope="module")
def both():
    """Training and test set."""
    return load_glyphs()


@pytest.fixture(scope="module")
def scores(both):
    """Decision values (1000, 10) of a support vector machine for the test images, freed of inversion and contrast."""
    from sklearn.svm import SVC

    def ink(images: torch.Tensor) -> torch.Tensor:
        corners = images[:, 0, ::15, ::15].flatten(1).float()
        distance = (images.flatten(1) - corners.median(1, keepdim=True).values).abs()
        return distance / distance.norm(dim=1, keepdim=True)

    train, test = both
    machine = SVC(C=10).fit(ink(train.images), train.labels)
    return torch.from_numpy(machine.decision_function(ink(test.images)))


# -- what is drawn


@pytest.mark.parametrize(("split", "n"), [(0, 2500), (1, 1000)])
def test_every_image_comes_with_label_hardness_ghost_and_font(both, split, n):
    drawn = both[split]
    assert drawn.images.shape == (n, 1, 16, 16) and drawn.images.dtype == torch.uint8
    assert drawn.images.min() == 0 and drawn.images.max() == 255
    assert drawn.hardness.shape == (n,) and drawn.hardness.dtype == torch.float32
    assert 0 <= drawn.hardness.min() < 0.02 and 0.95 < drawn.hardness.max() <= 1
    for values, most in ((drawn.labels, 9), (drawn.ghost, 9), (drawn.font, 21)):
        assert values.shape == (n,) and values.dtype == torch.int64
        assert values.min() == 0 and values.max() == most


def test_classes_are_balanced_and_a_ghost_is_of_every_other_class(both):
    for drawn in both:
        assert torch.bincount(drawn.labels).tolist() == 10 * [len(drawn.labels) // 10]
        pairs = torch.zeros(10, 10, dtype=torch.int64)
        pairs.index_put_((drawn.labels, drawn.ghost), torch.tensor(1), accumulate=True)
        assert torch.equal(pairs == 0, torch.eye(10, dtype=torch.bool))


def test_hardness_has_the_mean_and_spread_of_a_beta_1_2_1_6_distribution():
    hardness = draw_glyphs(10_000, seed=5).hardness
    assert float(hardness.mean()) == pytest.approx(1.2 / 2.8, abs=0.01)
    assert float(hardness.var()) == pytest.approx(1.2 * 1.6 / (2.8**2 * 3.8), abs=0.003)


def test_the_test_set_has_every_font_and_the_training_set_all_but_six(both):
    train, test = ({FONTS[font] for font in drawn.font.tolist()} for drawn in both)
    assert test == set(FONTS) and train == test - set(UNSEEN_FONTS) and len(train) == 16


def test_fonts_are_numbered_alike_whichever_are_asked_for():
    assert set(draw_glyphs(50, 0, ("cmr10", "DejaVuSans")).font.tolist()) == {0, FONTS.index("cmr10")}


# -- chance


def test_the_same_seed_draws_the_same_and_another_seed_draws_something_else(unchanged_global_state):
    with unchanged_global_state():
        first = draw_glyphs(100, seed=3)
    torch.manual_seed(7)
    again, other = draw_glyphs(100, seed=3), draw_glyphs(100, seed=4)
    for name in ("images", "labels", "hardness", "ghost", "font"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
        assert not torch.equal(getattr(first, name), getattr(other, name)), name


def test_the_data_set_is_the_one_that_others_have(both):
    train, test = both
    assert train.labels[:12].tolist() == [7, 2, 4, 0, 0, 4, 8, 3, 4, 7, 7, 8]
    assert test.ghost[:12].tolist() == [7, 8, 1, 3, 1, 3, 2, 7, 5, 8, 9, 2]
    assert float(train.hardness[0]) == pytest.approx(0.2815, abs=1e-4)
    assert train.images[:3].double().mean((1, 2, 3)).tolist() == pytest.approx([55.5, 52.7, 68.0], abs=0.5)


def test_how_many_images_are_moved_at_once_makes_no_difference(monkeypatch):
    whole = draw_glyphs(50, seed=1).images
    monkeypatch.setattr(glyphs, "AT_ONCE", 7)
    assert (whole.int() - draw_glyphs(50, seed=1).images.int()).abs().max() <= 1


def test_both_sets_are_drawn_in_seconds():
    start = time.process_time()
    load_glyphs()
    assert time.process_time() - start < 3


# -- the steps


def test_letters_lie_whole_in_the_middle_of_the_canvas_in_every_font():
    masks = letter_masks()
    assert masks.shape == (22, 10, 48, 48) and masks.min() == 0 and masks.max() == 1
    assert masks[:, :, [0, -1]].max() == 0 and masks[..., [0, -1]].max() == 0  # nothing is cut off
    for mask in masks.flatten(0, 1):
        for inked in (mask.amax(0) > 0, mask.amax(1) > 0):
            first, last = inked.nonzero().flatten()[[0, -1]].tolist()
            assert first + last in (46, 47)
    assert len({bytes(mask.numpy()) for mask in masks.flatten(0, 1)}) == 220  # no two fonts share a letter


def test_a_letter_that_is_not_moved_is_the_mean_of_three_by_three_points():
    masks = letter_masks(FONTS[:2])
    which = torch.tensor([1, 0]), torch.tensor([2, 9])
    small = glyphs.moved(masks, which, glyphs.poses(torch.zeros(2, 5)))
    for image, font, letter in zip(small, *which, strict=True):
        for row in range(16):
            for column in range(16):
                block = masks[font, letter, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
                assert float(image[row, column]) == pytest.approx(float(block.mean()), abs=1e-5)


@pytest.mark.parametrize(
    ("part", "matrix"),
    [
        (0, [[0.9397, -0.3420, 0], [0.3420, 0.9397, 0]]),  # turned by 20 degrees
        (1, [[1, 0.2, 0], [0, 1, 0]]),  # sheared
        (2, [[0.8696, 0, 0], [0, 0.8696, 0]]),  # 1.15 times as large
        (3, [[1, 0, 0.15], [0, 1, 0]]),  # shifted
        (4, [[1, 0, 0], [0, 1, 0.15]]),
    ],
)
def test_a_pose_is_a_matrix_from_the_image_to_the_letter(part, matrix):
    strength = torch.eye(5)[part : part + 1]
    torch.testing.assert_close(glyphs.poses(strength), torch.tensor([matrix]), atol=1e-4, rtol=0)


def test_an_image_is_composed_as_one_would_with_paper_and_pencil(rng):
    n = 8
    letters, ghosts = torch.rand(2, n, 16, 16, generator=rng)
    hardness, contrast, background = torch.rand(3, n, generator=rng)
    inverted, noise = torch.arange(n) % 2 == 1, torch.randn(n, 16, 16, generator=rng)
    images = composed(letters, ghosts, hardness, contrast, background, inverted, noise)
    for i in range(n):
        for row in range(16):
            for column in range(16):
                ink = max(float(letters[i, row, column]), 0.8 * float(hardness[i]) * float(ghosts[i, row, column]))
                paper, full = float(background[i]), float(contrast[i])
                grey = paper + ink * full * (1 - paper)
                if inverted[i]:
                    grey = 1 - grey
                grey += (0.04 + 0.06 * float(hardness[i])) * float(noise[i, row, column])
                assert abs(int(images[i, row, column]) - 255 * min(max(grey, 0), 1)) < 0.501


# -- what it is for


def test_hard_images_are_hard(both, scores):
    test = both[1]
    wrong = scores.argmax(1) != test.labels
    hard = test.hardness > test.hardness.median()
    assert wrong[hard].float().mean() > 0.1 and wrong[~hard].float().mean() < 0.03


def test_the_second_choice_for_a_hard_image_is_its_ghost_twice_as_often_as_chance_would(both, scores):
    test = both[1]
    second = scores.scatter(1, test.labels[:, None], -torch.inf).argmax(1)  # the best of the nine wrong classes
    hard = test.hardness > 0.6
    assert (second == test.ghost)[hard].float().mean() > 2 / 9


def test_the_named_data_set_is_what_is_drawn_in_its_order(both):
    train, test = both
    dataset = load_dataset("glyphs")
    assert dataset.name == "glyphs" and dataset.class_names == LETTERS == tuple("ABCDEFGHJK")
    assert torch.equal(dataset.train_images, train.images) and torch.equal(dataset.train_labels, train.labels)
    assert torch.equal(dataset.test_images, test.images) and torch.equal(dataset.test_labels, test.labels)
    part = dataset.subset(300)
    assert torch.equal(part.train_labels, train.labels[part.train_index])


def test_asymmetric_noise_sends_a_letter_to_the_one_most_like_it_in_shape():
    masks = letter_masks().flatten(2)
    masks = masks - masks.mean(2, keepdim=True)
    masks = masks / masks.norm(dim=2, keepdim=True)
    alike = torch.einsum("fap,fbp->ab", masks, masks).fill_diagonal_(0)
    noisy = corrupt(load_dataset("glyphs"), "asymmetric", 0.4, 0)
    moved = noisy.given_labels != noisy.true_labels
    assert torch.equal(noisy.given_labels[moved], alike.argmax(1)[noisy.true_labels[moved]])
    assert set(noisy.true_labels[moved].tolist()) == set(ASYMMETRIC_PAIRS["glyphs"])
    assert float(moved.float().mean()) == pytest.approx(0.4 * 5 / 10, abs=0.02)


@pytest.mark.parametrize(
    ("n", "fonts", "message"),
    [
        (10, ("Helvetica",), "no font 'Helvetica'"),
        (0, FONTS, "0 letters in 22 fonts"),
        (10, (), "10 letters in 0 fonts"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(n, fonts, message):
    with pytest.raises(InputError, match=message) as error:
        draw_glyphs(n, 0, fonts)
    assert "\n" not in str(error.value)
