"""Plain cross-entropy on the given labels: what every method has to beat."""

from dataclasses import dataclass

import torch

from nlcore.selection.division import Division, Snapshot

SETS = ("labelled",)
LABELLED = ("labelled",)


@dataclass(frozen=True)
class CEConfig:
    """Nothing to choose: every label is believed."""


PRESETS = {"tuned": CEConfig(), "paper": CEConfig()}


def divide(
    snapshot: Snapshot, given_labels: torch.Tensor, classify, config: CEConfig, memory: dict, generator
) -> tuple[Division, dict]:
    """Every sample is labelled with its given label."""
    ones = torch.ones_like(snapshot.losses)
    everything = torch.ones_like(given_labels, dtype=torch.bool)
    return Division(SETS, torch.zeros_like(given_labels), everything, given_labels, ones, ones), {}
