import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from nlcore import corrupt
from nlcore.methods import METHODS
from nlcore.study import plots


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_only_wrong_labels_are_starred_and_coloured(make_dataset):
    data = make_dataset()
    noisy = corrupt(data, "pairflip", 0.4, 0)
    indices = torch.arange(20)
    figure = plots.labelled_images(data, {"pair flip": noisy}, indices)
    seen = [(ax.title.get_text(), ax.title.get_color()) for ax in figure.axes]
    pairs = zip(noisy.given_labels[indices].tolist(), noisy.true_labels[indices].tolist(), strict=True)
    names = data.class_names
    assert seen == [(names[g] + " *", plots.WRONG) if g != t else (names[g], plots.CLEAN) for g, t in pairs]


def test_rows_of_images_may_be_short_or_empty(make_dataset):
    images = make_dataset().train_images
    figure = plots.image_rows({"three": images[:3], "one": images[:1], "none": images[:0]})
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_a_figure_of_empty_rows_is_drawn(make_dataset):
    images = make_dataset().train_images[:0]
    figure = plots.image_rows({"first": images, "second": images})
    assert [len(ax.images) for ax in figure.axes] == [0, 0]


def test_every_method_has_a_colour_of_its_own_and_a_strange_one_gets_a_spare_one():
    assert set(plots.METHOD_COLOURS) == set(METHODS)
    assert len(set(plots.METHOD_COLOURS.values())) == len(METHODS)
    colours = plots.method_colours(["tssd", "mine", "ours"])
    assert colours["tssd"] == plots.METHOD_COLOURS["tssd"] and len(set(colours.values())) == 3


def test_a_strange_method_has_one_colour_in_its_curve_and_band():
    _, ax = plt.subplots()
    plots.accuracy_curves(ax, {"mine": np.array([[80.0, 90.0], [70.0, 90.0]])})
    assert to_rgb(ax.lines[0].get_color()) == to_rgb(ax.collections[0].get_facecolor()[0][:3])


def test_accuracies_stand_by_noise_also_where_there_is_no_nominal_rate():
    runs = [("symmetric", 0.4, "ce", 80.0), ("symmetric", 0.4, "tssd", 90.0), ("human:worst", None, "ce", 70.0)]
    frame = pd.DataFrame(runs, columns=["noise", "rate", "method", "last"])
    _, ax = plt.subplots()
    plots.accuracy_by_noise(ax, frame)
    assert {text.get_text() for text in ax.get_xticklabels()} == {"symmetric\n40 %", "human:worst"}
    heights = sorted(float(y) for line in ax.lines for y in line.get_ydata())
    assert heights == [70.0, 80.0, 90.0]
