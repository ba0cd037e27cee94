"""The exam: its numbers are computed again, its papers hold what they should, and it covers the book."""

import io
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

from nlcore.selection.hallucination import hallucination_loss
from nlcore.selection.mixture import Mixture, ashman_distance
from nlcore.selection.streams import certain_sets
from nlcore.selection.voting import with_transition
from nlcore.training.mixmatch import PAPER_SSL, rampup, refine_targets, sharpen
from tools.teaching.exam import DIFFICULTY, Question, paper, read_questions
from tools.teaching.figures import FIGURES, POINTS, png
from tools.teaching.kit import pages_of

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = read_questions(ROOT / "book" / "_teaching" / "exam.yml")
CHAPTERS = [Path(page).name for page in pages_of(ROOT) if page.startswith("notebooks/")]
CALCULATIONS = [question for question in QUESTIONS if question.kind == "calculation"]


def symmetric(rate: float, classes: int) -> torch.Tensor:
    """Transition matrix of a redraw over all classes."""
    return (1 - rate) * torch.eye(classes) + rate / classes


def matrix_questions() -> list[float]:
    transition = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.0, 0.3, 0.7]])
    joint = torch.tensor([0.5, 0.3, 0.2])[:, None] * transition
    return [float(1 - joint.trace()), float(joint[:, 1].sum()), float(joint[1, 1] / joint[:, 1].sum())]


def posterior() -> list[float]:
    mixture = Mixture(*(torch.tensor([pair], dtype=torch.float64) for pair in ((0.1, 0.6), (0.01, 0.04), (0.6, 0.4))))
    value, group = torch.tensor([0.3], dtype=torch.float64), torch.tensor([0])
    joint = mixture.log_joint(value, group)[0].exp() * math.sqrt(2 * math.pi)
    return [*joint.tolist(), float(mixture.posterior(value))]


def anchor_losses() -> list[float]:
    first, second = torch.tensor([[0.9, math.sqrt(1 - 0.81), 0.0]]), torch.tensor([[0.3, 0.0, math.sqrt(1 - 0.09)]])
    logits = torch.tensor([[0.8, 0.2]]).log()
    anchor, label = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0])
    return [float(hallucination_loss(anchor, first, second, logits, label, p, 1.0)) for p in (0.75, 0.5)]


def votes() -> list[float]:
    shares = torch.tensor([[0.1, 0.6, 0.3]])  # classes 5, 3 and 8
    transition = torch.eye(3)
    transition[:, 2] = torch.tensor([0.1, 0.05, 0.7])
    return [float(shares.max()), float(with_transition(shares, transition, torch.tensor([2]))[0, 2])]


def refined() -> list[float]:
    label, weight, probs = torch.tensor([0]), torch.tensor([0.8]), torch.tensor([[0.2, 0.7, 0.1]])
    return [*refine_targets(label, weight, probs, 0.5)[0].tolist(), 1 / 3]


def interval() -> list[float]:
    gains = torch.tensor([0.8, 0.2, 0.5])
    return [float(gains.mean()), float(4.303 * gains.std() / math.sqrt(3))]


def agreement() -> list[float]:
    right, hit = 0.64, 0.36 / 9
    shares = [accuracy * right + (1 - accuracy) * hit for accuracy in (0.90, 0.85)]
    return [*shares, math.sqrt(shares[0] * (1 - shares[0]) / 1000)]


def distance() -> list[float]:
    means, variances, weights = (torch.tensor([pair]) for pair in ((0.2, 0.5), (0.04, 0.05), (0.5, 0.5)))
    return [float(ashman_distance(Mixture(means, variances, weights)))]


COMPUTED: dict[str, Callable[[], list[float]]] = {
    "memo-accuracy": lambda: [0.96 * 10_000 - 0.75 * 10_000],
    "noise-symmetric": lambda: [float(1 - symmetric(0.5, 10)[0, 0]), float(1 - symmetric(0.5, 4)[0, 0]), 0.5],
    "noise-matrix": matrix_questions,
    "noise-product": lambda: [float(1 - (symmetric(0.2, 10) @ symmetric(0.1, 10))[0, 0])],
    "traps-asymmetric": lambda: [0.4 * 5 / 10, 0.25 / (5 / 10)],
    "annotators-third": lambda: [3 * 20_000, 2 * 20_000 + 0.3 * 20_000, 0.25 * 0.3 * 20_000],
    "robust-influence": lambda: [0.9 / 1.1, 0.09 / 0.25],
    "selection-rate": lambda: [0.6 * 5000, 3000 / 4000, 4000 / 4500],
    "risk-affine": lambda: [(0.61 - 0.36 / 9) / (1 - 0.4), 1 - 0.36, 1.1 / 0.6],
    "correct-forward": lambda: [
        -math.log(0.1),
        -math.log(0.46),
        (-math.log(0.9) + 0.4 * math.log(0.1)) / -0.6,
        -math.log(0.9),
    ],
    "noisytest-ceiling": lambda: [0.75, 0.75 * 0.8 + 0.025 * 0.2, (0.641 - 0.025) / 0.725, (0.709 - 0.025) / 0.725],
    "confident-count": lambda: [100 * 10 / 50, 100 * 5 / 50, 100 * 10 / 50 + 100 * 5 / 50],
    "traps-sink": lambda: [600 + 9 * 400 * 0.9, 600 / (600 + 9 * 400 * 0.9)],
    "loss-posterior": posterior,
    "loss-precision": lambda: [475 / 500, 475 / 600, 2 / (500 / 475 + 600 / 475)],
    "feature-memory": lambda: [50_000**2 * 4, 10 * 512 * 4],
    "division-ashman": distance,
    "mining-gain": lambda: [0.8 * 400, 0.8 * 400 / (0.25 * 3000), 0.75 * 400],
    "quadrants-table": lambda: [325 / 1000, 500 / 525, 175 / 675],
    "anchor-loss": anchor_losses,
    "voting-count": votes,
    "mixmatch-sharpen": lambda: sharpen(torch.tensor([[0.5, 0.3, 0.2]]), 0.5)[0].tolist(),
    "mixmatch-refine": refined,
    "mixmatch-ramp": lambda: [rampup(4, PAPER_SSL)],
    "benchmark-interval": interval,
    "cifar-holdout": agreement,
    "arena-ranks": lambda: [(3 + 1) / 2, (1.5 + 2) / 2, (1.5 + 3) / 2, (80 + 70) / 2],
    "ablations-error": lambda: [math.sqrt(2 * 0.3**2 / 3)],
    "own-list": lambda: [0.15 * 2000, 240 / 300, 300 * 0.15],
}


@pytest.mark.parametrize("question", CALCULATIONS, ids=lambda question: question.id)
def test_results_are_what_a_computation_gives(question: Question) -> None:
    values = COMPUTED[question.id]()
    assert len(values) == len(question.results) > 0
    for value, printed in zip(values, question.results, strict=True):
        number, percent = re.fullmatch(r"([\d,.]+)( %)?", printed).groups()
        decimals = len(number.partition(".")[2])
        unit = 10**-decimals
        value = 100 * value if percent else value
        assert abs(value - float(number.replace(",", ""))) <= unit / 2 * 1.001, (value, printed)


@pytest.mark.parametrize("question", CALCULATIONS, ids=lambda question: question.id)
def test_results_stand_in_the_answer(question: Question) -> None:
    assert [printed for printed in question.results if printed not in question.answer] == []


@pytest.mark.parametrize(("tau", "positive", "negative"), [(0.5, "AE", "BF"), (0.8, "A", "")])
def test_map_has_the_sets_of_the_answer(tau: float, positive: str, negative: str) -> None:
    across, up = torch.tensor(list(POINTS.values()), dtype=torch.float64).T
    found = certain_sets(across, up, tau)
    assert ["".join(name for name, member in zip(POINTS, members, strict=True) if member) for members in found] == [
        positive,
        negative,
    ]


def test_every_chapter_has_two_questions_and_no_other_is_asked_about() -> None:
    counts = Counter(question.chapter for question in QUESTIONS)
    assert list(counts) == CHAPTERS
    assert min(counts.values()) >= 2


def test_questions_are_many_and_mixed() -> None:
    assert len(QUESTIONS) >= 30
    assert len({question.id for question in QUESTIONS}) == len(QUESTIONS)
    kinds = Counter(question.kind for question in QUESTIONS)
    assert set(kinds) == {"concept", "calculation", "figure", "flaw"}
    assert min(kinds.values()) >= 5
    assert {question.difficulty for question in QUESTIONS} == set(DIFFICULTY)


def test_figures_are_drawn_and_described() -> None:
    asked = [question for question in QUESTIONS if question.kind == "figure"]
    assert sorted(question.figure for question in asked) == sorted(FIGURES)
    assert all(question.alt for question in asked)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_the_same_every_time(name: str) -> None:
    content = png(name)
    assert content == png(name)
    assert imread(io.BytesIO(content)).std() > 0.05  # something is on it


def test_paper_for_students_has_no_answers() -> None:
    text = paper(QUESTIONS, {name: name for name in CHAPTERS}, answers=False)
    for question in QUESTIONS:
        assert question.question.strip() in text
        assert question.answer.strip() not in text and question.marking.strip() not in text
    assert not re.search(r"Answer|Marking|" + "|".join(question.id for question in QUESTIONS), text)


def test_paper_for_teachers_has_all_of_them() -> None:
    text = paper(QUESTIONS, {name: name for name in CHAPTERS}, answers=True)
    unquoted = text.replace("\n> ", "\n")
    for question in QUESTIONS:
        for part in (question.question, question.answer, question.marking):
            assert part.strip() in unquoted
    assert f"{sum(question.points for question in QUESTIONS):g} points" in text
