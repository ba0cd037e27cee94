"""Figures of the exam, from invented data: each has a question that can be answered from the picture alone."""

import io
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from nlcore.study import plots

POINTS = {"A": (0.9, 0.95), "B": (0.1, 0.2), "C": (0.85, 0.3), "D": (0.3, 0.7), "E": (0.6, 0.65), "F": (0.25, 0.1)}


def curves() -> Figure:
    """Two learning curves: one falls after its peak."""
    epoch = np.arange(1, 31)
    falls = np.interp(epoch, [1, 3, 5, 6, 8, 10, 15, 20, 30], [52, 68, 80, 84, 88, 85.5, 80, 76, 70])
    stays = 90 - 45 * np.exp(-epoch / 4.5)
    figure, ax = plt.subplots(figsize=(6, 3.4))
    ax.plot(epoch, falls, "o-", color=plots.WRONG, markersize=4, label="A")
    ax.plot(epoch, stays, "s--", color=plots.CLEAN, markersize=4, label="B")
    ax.set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(40, 100))
    ax.grid(alpha=0.4)
    ax.legend()
    return figure


def transition() -> Figure:
    """Symmetric noise, pair flip and asymmetric noise of 40 %."""
    uniform = torch.full((5, 5), 0.08) + 0.6 * torch.eye(5)
    pairs = 0.6 * torch.eye(5) + 0.4 * torch.eye(5).roll(1, 1)
    some = torch.eye(5)
    some[2, 2] = some[4, 4] = 0.6
    some[2, 3] = some[4, 1] = 0.4
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
    for ax, matrix in zip(axes, (uniform, pairs, some), strict=True):
        plots.transition_heatmap(ax, matrix, tuple("01234"))
    return figure


def losses() -> Figure:
    """Losses of right and wrong labels: two groups, and two groups of which one hides in the other."""
    rng = np.random.default_rng(0)
    right = rng.normal(0.12, 0.05, 600), rng.normal(0.16, 0.07, 600)
    wrong = rng.normal(0.7, 0.12, 400), np.concatenate([rng.normal(0.17, 0.07, 200), rng.normal(0.65, 0.12, 200)])
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
    for ax, clean, noisy in zip(axes, right, wrong, strict=True):
        labels = torch.tensor([True] * len(clean) + [False] * len(noisy))
        plots.clean_wrong_histogram(ax, torch.tensor(np.concatenate([clean, noisy])).clamp(0, 1), labels)
        ax.axvline(0.4, color="black", linestyle="--", label="threshold")
        ax.set(xlabel="scaled loss")
    axes[0].set_ylabel("labels")
    axes[1].legend()
    return figure


def division() -> Figure:
    """A map of both streams with six lettered samples."""
    figure, ax = plt.subplots(figsize=(4.6, 4.2))
    for name, (across, up) in POINTS.items():
        ax.plot(across, up, "o", color=plots.CLEAN)
        ax.annotate(name, (across, up), xytext=(6, 6), textcoords="offset points")
    ax.set(xlabel="loss stream", ylabel="feature stream", xlim=(0, 1), ylim=(0, 1))
    ax.set(xticks=np.linspace(0, 1, 11), yticks=np.linspace(0, 1, 11))
    ax.grid(alpha=0.4)
    return figure


def calibration() -> Figure:
    """A vote that is too sure of itself."""
    figure, ax = plt.subplots(figsize=(4.6, 4))
    ax.plot([0.3, 1], [0.3, 1], color=plots.NEUTRAL, label="perfect calibration")
    ax.plot(
        [0.4, 0.5, 0.6, 0.7, 0.8, 0.95], [0.36, 0.44, 0.5, 0.57, 0.62, 0.72], "o-", color=plots.CLEAN, label="the vote"
    )
    ax.set(xlabel="share of the vote", ylabel="share of right verdicts")
    ax.grid(alpha=0.4)
    ax.legend()
    return figure


def classes() -> Figure:
    """Labelled samples of each class over the epochs: one class vanishes."""
    counts = np.random.default_rng(0).integers(80, 110, (6, 20))
    counts[4, 5:11] = [70, 55, 40, 25, 12, 4]
    counts[4, 11:] = 0
    figure, ax = plt.subplots(figsize=(7, 3))
    image = ax.imshow(counts, aspect="auto", cmap="cividis", vmin=0, extent=(0.5, 20.5, 5.5, -0.5))
    ax.set(xlabel="epoch", ylabel="class", xticks=range(2, 21, 2))
    figure.colorbar(image, label="labelled samples")
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    drawn.__name__: drawn for drawn in (curves, transition, losses, division, calibration, classes)
}


def png(name: str) -> bytes:
    """A figure as a PNG file, without a date or a version in it."""
    plots.use_style()
    figure, file = FIGURES[name](), io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    plt.close(figure)
    return file.getvalue()
