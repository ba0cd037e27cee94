"""Label smoothing (Szegedy et al., CVPR 2016), which helps against label noise too (Lukasik et al., ICML 2020).

    target = (1 - s) onehot(given label) + s / K

No label is believed wholly, so none is worth learning by heart. Cross-entropy in everything else.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from nlcore.basics.ranges import Range, within

TITLE = "Label smoothing"


@dataclass(frozen=True)
class LabelSmoothingConfig:
    """The defaults are the `tuned` preset.

    Attributes
    ----------
    smoothing : s, the share of a label that is spread evenly over all K classes, its own among them.
    """

    smoothing: float = within(0.5, Range(0, below=1))


PRESETS = {"tuned": LabelSmoothingConfig(), "paper": LabelSmoothingConfig(0.1)}


def batch_loss(batch, settings: LabelSmoothingConfig, memory: dict) -> torch.Tensor:
    """Mean cross-entropy to the smoothed labels: a scalar."""
    return F.cross_entropy(batch.logits, batch.labels, label_smoothing=settings.smoothing)
