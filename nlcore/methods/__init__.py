"""The methods by name, one file each, read from top to bottom like the algorithm in its paper.

A method is a module. It has

- `TITLE`, how tables and figures name it;
- `PRESETS`, "tuned" and "paper" -> its settings, a frozen dataclass;

and brings what it changes, each of it optional, as plain functions that the engine looks for:

- `divide(snapshot, given_labels, classify, settings, memory, generator)` -> a `Division` and a report, after warm-up
  before every epoch. It then names its sets in `SETS`, and in `LABELLED` those that are trained with labels. Training
  is MixMatch on the division, unless the method brings one of the next two.
- `batch_loss(batch, settings, memory)` -> a scalar, from a `nlcore.training.steps.Batch`: what an epoch minimises, on
  all given labels or, if the method divides, on the targets of the labelled samples.
- `prepare(look, state, settings, memory)`, before every such epoch: what a `batch_loss` has to know of all samples at
  once. `look()` gives a `Snapshot` of them by the network's average weights, which costs a pass.
- `own_epoch(steps, divisions, settings)` -> the mean loss: an epoch of its own, of all its networks, written with
  `nlcore.training.steps.Steps`. `divisions` has one for each network, or is None if the method does not divide.
- `look(steps, learner, snapshot, settings)` -> the `Snapshot` that `divide` gets in place of this one, for a method
  that trains something before it divides, or has to see more than one look gives.
- `mixed_step(steps, learner, mixed, settings)` -> the detached loss: what is learnt from a batch of MixMatch, a
  `nlcore.training.mixmatch.Mixed`, in place of the plain step.
- `warmup_loss(batch, settings)` -> a scalar, added to the cross-entropy of the warm-up: what extra heads learn there.
- `extra_heads(in_features, num_classes, settings)` -> modules by name, on the pooled features. They belong to the
  network: to its optimiser, its average weights and its checkpoints. `network(images, with_heads=True)` gives their
  outputs too, `network.heads[name](features)` one of them, and a snapshot has those of all samples.
- `recipe(config)` -> pairs of values and their source: what the method asks for outside its settings, or of its
  settings on a certain data set or noise, over the package's own defaults; `warmup` is a share of all epochs.

`memory` is a dictionary of each network's own, empty at the start, kept from batch to batch and from epoch to epoch and
in checkpoints, exactly: tensors, numbers, texts, lists and dictionaries of them. What else it holds has to have a
`state_dict`, and the method says with `restore_memory(stored, device)` how it comes back.

A method without `divide` starts at once; the others warm up. One that brings nothing is cross-entropy.
"""

from nlcore.methods import (
    anchor,
    ce,
    coteaching,
    dividemix,
    elr,
    forward,
    gce,
    label_smoothing,
    mixup,
    ssr,
    tscsi,
    tssd,
)
from nlcore.selection.division import ALL

METHODS = {
    "ce": ce,
    "dividemix": dividemix,
    "tssd": tssd,
    "anchor": anchor,
    "label_smoothing": label_smoothing,
    "mixup": mixup,
    "forward": forward,
    "gce": gce,
    "coteaching": coteaching,
    "elr": elr,
    "ssr": ssr,
    "tscsi": tscsi,
}


def brings(method: str, *parts: str) -> bool:
    """Whether a method has at least one of these functions."""
    return any(hasattr(METHODS[method], part) for part in parts)


def labelled_sets(method: str) -> tuple[str, ...]:
    """The sets of a method that are trained with labels."""
    return getattr(METHODS[method], "LABELLED", (ALL,))


def set_names(method: str) -> tuple[str, ...]:
    """All sets of a method."""
    return getattr(METHODS[method], "SETS", (ALL,))
