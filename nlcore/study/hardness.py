"""What no photograph tells: letters whose true hardness is known, and the class of the ghost that shines through each.

Anchor Hallucination rests on three claims about hard samples: small loss drops them though their labels are right, they
lie between two classes where anchors are made, and anchors find their label. Here each can be counted.
"""

import pandas as pd
import torch

from nlcore.data.glyphs import Glyphs
from nlcore.methods import anchor, dividemix
from nlcore.selection.voting import centred_unit, nearest
from nlcore.training.engine import Epoch

QUARTERS = ("easiest quarter", "second", "third", "hardest quarter")
NEAREST = 20  # anchors that are asked about a sample


def by_hardness(epoch: Epoch, glyphs: Glyphs) -> pd.DataFrame:
    """One row a quarter of the true hardness, in per cent, for an epoch of `anchor` on all of some glyphs.

    `small loss keeps`: share of the rightly labelled samples that DivideMix's mixture would label. The rest is about
    hard samples, those that the method does not take for easy: of their 20 nearest anchors, `first parent: own class`,
    `second parent: ghost` and `second parent: chance` (any class but the first parent's: 1 of K - 1); `verdict right`
    and `argmax right`.
    """
    state, snapshot = epoch.state, epoch.snapshot
    given, true = state.given_labels, state.true_labels
    small_loss, _ = dividemix.divide(
        snapshot, given, None, dividemix.PRESETS["tuned"], {}, torch.Generator().manual_seed(0)
    )
    _, easy = anchor.select_easy(snapshot, given, state.config.settings)
    hard, anchors = ~easy, epoch.report["anchors"]
    centre = snapshot.features[easy].mean(0)
    places = (centred_unit(features, centre) for features in (snapshot.features[hard], anchors.features))
    near = nearest(*places, NEAREST)[1]
    first, second = anchors.labels[near], given[easy][anchors.parents[near, 1]]
    facts = {
        "first parent: own class": (first == true[hard, None]).float().mean(1),
        "second parent: ghost": (second == glyphs.ghost[hard, None]).float().mean(1),
        "verdict right": (epoch.report["verdict_labels"] == true)[hard].float(),
        "argmax right": (snapshot.logits.argmax(1) == true)[hard].float(),
    }
    edges = glyphs.hardness.quantile(torch.tensor([0.25, 0.5, 0.75]))
    quarter = torch.bucketize(glyphs.hardness, edges)
    right = given == true
    rows = {}
    for number, name in enumerate(QUARTERS):
        kept = small_loss.labelled[right & (quarter == number)].float().mean()
        row = {"small loss keeps": kept} | {fact: of[quarter[hard] == number].mean() for fact, of in facts.items()}
        rows[name] = {fact: 100 * float(value) for fact, value in row.items()}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.insert(3, "second parent: chance", 100 / (state.num_classes - 1))
    return table
