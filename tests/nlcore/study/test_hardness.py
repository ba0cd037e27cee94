"""The chapters' claims about hard samples, on letters whose hardness is known."""

import pytest
import torch

from nlcore import TrainConfig
from nlcore.data.datasets import Dataset
from nlcore.data.glyphs import FONTS, LETTERS, draw_glyphs
from nlcore.methods import dividemix
from nlcore.methods.anchor import select_easy
from nlcore.study.hardness import NEAREST, QUARTERS, by_hardness
from nlcore.training.engine import run
from nlcore.training.run import prepare


@pytest.fixture(scope="module")
def seen():
    """Other letters than those of `load_glyphs`, after 16 of 16 epochs: the last one and the truth."""
    glyphs = draw_glyphs(1500, 700, FONTS)
    data = Dataset("glyphs", glyphs.images, glyphs.labels, glyphs.images[:100], glyphs.labels[:100], LETTERS)
    config = TrainConfig(dataset="glyphs", method="anchor", noise="idn_xia", rate=0.4, epochs=16, device="cpu")
    config = config.resolved(data)
    *_, last = run(config, *prepare(config, data))
    return last, glyphs


def test_the_hardest_quarter_equals_a_loop_over_its_samples(seen):
    epoch, glyphs = seen
    s, given, true = epoch.snapshot, epoch.state.given_labels, epoch.state.true_labels
    edge = glyphs.hardness.quantile(0.75)
    _, easy = select_easy(s, given, epoch.state.config.settings)
    small, _ = dividemix.divide(s, given, None, dividemix.PRESETS["tuned"], {}, torch.Generator())
    easy_rows, anchors = easy.nonzero().flatten(), epoch.report["anchors"]
    centre = s.features[easy].mean(0)
    kept, right, own, ghost, verdict, argmax = [], 0, [], [], [], []
    for i in (glyphs.hardness > edge).nonzero().flatten().tolist():
        if given[i] == true[i]:
            right += 1
            kept.append(bool(small.labelled[i]))
        if easy[i]:
            continue
        cosines = torch.cosine_similarity(s.features[i] - centre, anchors.features - centre, dim=1)
        near = cosines.topk(NEAREST).indices
        own += [int(anchors.labels[a] == true[i]) for a in near]
        ghost += [int(given[easy_rows[anchors.parents[a, 1]]] == glyphs.ghost[i]) for a in near]
        verdict.append(int(epoch.report["verdict_labels"][i] == true[i]))
        argmax.append(int(s.logits[i].argmax() == true[i]))
    expected = [sum(kept) / right, *(sum(of) / len(of) for of in (own, ghost)), 1 / 9]
    expected += [sum(of) / len(of) for of in (verdict, argmax)]
    row = by_hardness(epoch, glyphs).loc["hardest quarter"]
    assert row.tolist() == pytest.approx([100 * value for value in expected], abs=0.2)  # equal cosines may swap


def test_small_loss_drops_the_hard_samples_though_their_labels_are_right(seen):
    kept = by_hardness(*seen)["small loss keeps"]
    assert kept.index.tolist() == list(QUARTERS)
    assert kept.iloc[0] > kept.iloc[3] + 10 and kept.iloc[0] > 80


def test_the_nearest_anchors_of_a_sample_are_those_of_its_own_class_less_so_the_harder_it_is(seen):
    own = by_hardness(*seen)["first parent: own class"]
    assert own.iloc[0] > own.iloc[3] + 15 and own.iloc[3] > 100 / 10
