"""DivideMix (Li, Socher and Hoi, ICLR 2020): a mixture on the losses, then MixMatch.

The original has two networks that divide for each other: `TrainConfig(networks=2)`, here as for every method.
"""

from dataclasses import dataclass

import torch

from nlcore.basics.ranges import SHARE, within
from nlcore.selection.division import Division, Snapshot, with_every_class
from nlcore.selection.streams import loss_stream

TITLE = "DivideMix"
SETS = ("clean", "noisy")
LABELLED = ("clean",)


@dataclass(frozen=True)
class DivideMixConfig:
    """Attributes
    ----------
    tau : a label is clean from this probability of the low-loss component.
    keep_share : share of each given class that stays labelled whatever the mixture says (our reconstruction; 0 = off).
    """

    tau: float = within(0.5, SHARE)
    keep_share: float = within(0.1, SHARE)


PRESETS = {"tuned": DivideMixConfig(), "paper": DivideMixConfig(keep_share=0.0)}


def divide(
    snapshot: Snapshot, given_labels: torch.Tensor, classify, config: DivideMixConfig, memory: dict, generator
) -> tuple[Division, dict]:
    """Small loss means clean."""
    clean_prob = loss_stream(snapshot.losses, given_labels, snapshot.logits.shape[1], per_class_from=None)
    labelled = clean_prob > config.tau
    division = Division(SETS, (~labelled).long(), labelled, given_labels, clean_prob, clean_prob)
    return with_every_class(division, snapshot, given_labels, clean_prob, "clean", config.keep_share), {}
