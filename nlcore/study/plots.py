"""Figures from tensors and records. Every function draws on axes that it is given, or returns a new figure.

Colours tell clean from wrong labels in the same way everywhere, and are distinguishable to colour-blind readers.
"""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nlcore.data.datasets import Dataset
from nlcore.noise.labels import NoisyLabels
from nlcore.selection.mixture import Mixture

CLEAN, WRONG, NEUTRAL = "#0072B2", "#D55E00", "#8C8C8C"
# The palette of Okabe and Ito, and four colours of Tol's. Twelve are too many for every eye: mark lines otherwise too.
METHOD_COLOURS = {"ce": "#8C8C8C", "dividemix": "#E69F00", "tssd": "#0072B2", "anchor": "#009E73"}
METHOD_COLOURS |= {"gce": "#D55E00", "coteaching": "#56B4E9", "elr": "#CC79A7", "ssr": "#000000"}
METHOD_COLOURS |= {"tscsi": "#882255", "label_smoothing": "#DDCC77", "mixup": "#332288", "forward": "#999933"}


def use_style() -> None:
    """The look of the book's figures. A white ground keeps them readable on a dark page."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
        }
    )


def transition_heatmap(ax: Axes, matrix: torch.Tensor, class_names: tuple[str, ...], title: str = "") -> None:
    """A (K, K) transition matrix in per cent: rows are true classes, columns given labels."""
    few = len(class_names) <= 10
    sns.heatmap(
        100 * matrix.numpy(),
        ax=ax,
        cmap="cividis",
        vmin=0,
        vmax=100,
        annot=few,
        fmt=".0f",
        annot_kws={"size": 8},
        cbar=False,
        square=True,
        xticklabels=class_names if few else False,
        yticklabels=class_names if few else False,
    )
    ax.set(xlabel="given label", ylabel="true class", title=title)


def image_grid(images: torch.Tensor, captions: list[str], columns: int = 8, size: float = 1.1) -> Figure:
    """A figure of images (N, C, H, W) uint8, each under its caption."""
    rows = -(-max(1, len(images)) // columns)
    height = size + 0.2 * (1 + max((caption.count("\n") for caption in captions), default=0))
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, height * rows), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, caption in zip(axes.flat, images, captions, strict=False):
        show_image(ax, image)
        ax.set_title(caption, fontsize=8)
    return figure


def image_rows(
    rows: dict[str, torch.Tensor],
    captions: dict[str, list[str]] | None = None,
    colours: dict[str, list[str]] | None = None,
    size: float = 1.0,
) -> Figure:
    """A figure of named rows of images (N, C, H, W) uint8; rows may be of unequal length, or empty."""
    columns = max(1, *(len(images) for images in rows.values()))
    height = size + (0.25 if captions else 0.05)
    figure, axes = plt.subplots(len(rows), columns, figsize=(size * columns + 1, height * len(rows)), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
        for n, (ax, image) in enumerate(zip(line, images, strict=False)):
            show_image(ax, image)
            if captions:
                ax.set_title(captions[name][n], fontsize=8, pad=3, color=colours[name][n] if colours else "black")
    return figure


def labelled_images(dataset: Dataset, noisy: dict[str, NoisyLabels], indices: torch.Tensor) -> Figure:
    """The same training images, a row for each noise, under their given labels; a wrong one is coloured and starred."""
    rows, captions, colours = {}, {}, {}
    for name, labels in noisy.items():
        given, wrong = labels.given_labels[indices], (labels.given_labels != labels.true_labels)[indices]
        rows[name] = dataset.train_images[indices]
        pairs = list(zip(given.tolist(), wrong.tolist(), strict=True))
        captions[name] = [dataset.class_names[c] + " *" * w for c, w in pairs]
        colours[name] = [WRONG if w else CLEAN for _, w in pairs]
    return image_rows(rows, captions, colours)


def show_image(ax: Axes, image: torch.Tensor) -> None:
    """One (C, H, W) uint8 image without axes."""
    pixels = image.permute(1, 2, 0).numpy()
    ax.imshow(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels, cmap="gray_r", interpolation="nearest")
    ax.axis("off")


def clean_wrong_histogram(ax: Axes, values: torch.Tensor, right: torch.Tensor | None, bins: int = 40) -> None:
    """Histogram of values (N,) in [0, 1], right and wrong labels apart where they are known (right (N,) bool or
    None)."""
    edges = np.linspace(0, 1, bins + 1)
    values = values.numpy()
    if right is None:
        ax.hist(values, edges, color=NEUTRAL, label="all samples")
        return
    right = right.numpy()
    ax.hist(values[right], edges, color=CLEAN, alpha=0.6, label="right label")
    ax.hist(values[~right], edges, color=WRONG, alpha=0.6, label="wrong label")


def mixture_curves(ax: Axes, mixture: Mixture, count: int, bins: int = 40, group: int = 0) -> None:
    """The two fitted components over a histogram of `count` values in [0, 1], each on the scale of the bars."""
    grid = torch.linspace(0, 1, 300, dtype=torch.float64)
    heights = mixture.log_joint(grid, torch.full((300,), group)).exp() * count / bins
    for component, (style, label) in enumerate((("-", "low component"), ("--", "high component"))):
        ax.plot(grid, heights[:, component], style, color="black", linewidth=1.2, label=label)


def division_map(
    ax: Axes, p_loss: torch.Tensor, p_feature: torch.Tensor, right: torch.Tensor | None, tau: float
) -> None:
    """Each sample at its two probabilities of a clean label; the corners are certain, the rest is not."""
    colours = np.full(len(p_loss), NEUTRAL, dtype=object)
    if right is not None:
        colours = np.where(right.numpy(), CLEAN, WRONG)
    ax.scatter(p_loss, p_feature, c=list(colours), s=8, alpha=0.5, linewidths=0)
    ax.axvline(tau, color="black", linewidth=0.8)
    ax.axhline(tau, color="black", linewidth=0.8)
    for x, y, name in ((0.97, 0.97, "certain\npositive"), (0.03, 0.03, "certain\nnegative"), (0.03, 0.97, "uncertain")):
        ax.text(x, y, name, ha="right" if x > 0.5 else "left", va="top" if y > 0.5 else "bottom", fontsize=9)
    ax.text(0.97, 0.03, "uncertain", ha="right", va="bottom", fontsize=9)
    ax.set(
        xlabel="loss stream: probability of a clean label",
        ylabel="feature stream",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )


def set_curves(history: list[dict], names: tuple[str, ...]) -> Figure:
    """Size and precision of each set of a division over the epochs of a history."""
    rows = [row for row in history if "sets" in row]
    epochs = [row["epoch"] for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    for name, marker in zip(names, "osv^", strict=False):
        left.plot(epochs, [row["sets"][name]["size"] for row in rows], marker=marker, markersize=3, label=name)
        precision = [row["sets"][name]["precision"] for row in rows]
        known = [(e, 100 * p) for e, p in zip(epochs, precision, strict=True) if p is not None]
        if known:
            right.plot(*zip(*known, strict=True), marker=marker, markersize=3, label=name)
    left.set(xlabel="epoch", ylabel="samples", title="size")
    right.set(xlabel="epoch", ylabel="per cent", title="precision")
    left.legend()
    return figure


def method_colours(methods) -> dict[str, str]:
    """A colour for each of some methods; one that has none of its own gets that of a method that is not among them."""
    spare = (colour for name, colour in METHOD_COLOURS.items() if name not in methods)
    return {name: METHOD_COLOURS.get(name) or next(spare, NEUTRAL) for name in methods}


def accuracy_curves(ax: Axes, curves: dict[str, np.ndarray], warmup_epochs: int | None = None) -> None:
    """Mean test accuracy over seeds, with a band of one sample standard deviation (none for one seed).

    curves : method -> (seeds, epochs) in per cent, see `nlcore.results.tables.curves`.
    """
    colours = method_colours(list(curves))
    for method, values in curves.items():
        epochs = np.arange(1, values.shape[1] + 1)
        mean = values.mean(0)
        std = values.std(0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
        colour = colours[method]
        ax.plot(epochs, mean, label=method, color=colour)
        ax.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)
    if warmup_epochs:
        ax.axvline(warmup_epochs, color="black", linewidth=0.8, linestyle=":")
    ax.set(xlabel="epoch", ylabel="test accuracy (%)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def accuracy_by_noise(ax: Axes, frame, statistic: str = "last") -> None:
    """Every run as a dot and every method's mean as a bar, side by side for each noise kind and rate.

    frame : runs as a DataFrame with noise, rate, method, seed and the statistic, in per cent; one dataset and preset.
    """
    noises = list(frame.groupby(["noise", "rate"], sort=False, dropna=False))
    methods = list(frame["method"].unique())
    colours = method_colours(methods)
    for number, method in enumerate(methods):
        colour = colours[method]
        offset = 0.8 * (number - (len(methods) - 1) / 2) / len(methods)
        for place, (_, cell) in enumerate(noises):
            runs = cell[cell["method"] == method][statistic]
            label = method if place == 0 else None
            ax.plot([place + offset] * len(runs), runs, "o", markersize=4, alpha=0.7, color=colour, label=label)
            ax.hlines(runs.mean(), place + offset - 0.08, place + offset + 0.08, color=colour, linewidth=2)
    names = [f"{kind}\n{100 * rate:g} %" if rate == rate else kind for (kind, rate), _ in noises]  # NaN: no rate
    ax.set_xticks(range(len(noises)), names)
    ax.set(ylabel=f"{statistic} test accuracy (%)")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
