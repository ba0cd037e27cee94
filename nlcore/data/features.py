"""Images become vectors once: the features of a pretrained network, in a file that `path:FILE.npz` reads.

The work is kept beside the file while it goes on, so that it can be stopped anywhere and goes on from there.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch

from nlcore.basics.digests import content_digest
from nlcore.basics.errors import InputError, first_line
from nlcore.basics.files import suffix_of, write_atomically
from nlcore.basics.progress import beat, steps
from nlcore.data.backbones import Backbone, load_backbone
from nlcore.data.datasets import Dataset

AT_ONCE = 512  # images after which the work is kept
PASS = 32  # images in one pass: activations that fit into a processor's cache are twice as fast as those of hundreds


def extract_features(dataset: Dataset, out: Path, backbone: str = "efficientnet_lite0", size: int = 112) -> int:
    """Write the features of a dataset's images, float16, with labels by their names; return how many numbers each is.

    The file has `inputs` (N, d), `labels` (N,), and of the test set, if there is one, `test_inputs` and `test_labels`.

    Raises
    ------
    InputError : a file that is there already or cannot be written, data that hold vectors, an unknown backbone, a size
        that it does not take.
    """
    suffix_of(out, ".npz")
    if out.exists():
        raise InputError(f"{out} exists already; choose another file")
    if dataset.holds_vectors:
        raise InputError(f"{dataset.name} holds vectors already; features are made of images")
    network = load_backbone(backbone, size)
    images = (dataset.train_images, dataset.test_images)
    n = sum(map(len, images))
    try:
        with torch.no_grad():
            dim = network(dataset.train_images[:1]).shape[1]
    except Exception as error:  # some networks take images of one size only, each with words of its own
        raise InputError(f"{backbone} takes no images of {size} pixels ({first_line(error)})") from error
    identity = f"{backbone} {size} {dim} {content_digest(*images)[:12]}"
    unfinished, note = out.with_name(f".{out.name}.unfinished.npy"), out.with_name(f".{out.name}.unfinished.json")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        done = _done(note, identity) if unfinished.exists() else 0
        mode = "r+" if done else "w+"
        kept = np.lib.format.open_memmap(unfinished, mode, np.float16, None if done else (n, dim))
        with steps(n, f"features of {dataset.name}", "images") as advance, torch.no_grad():
            advance(done)
            while done < n:
                part = _rows(images, done, min(done + AT_ONCE, n))
                kept[done : done + len(part)] = in_passes(network, part).numpy()
                done += len(part)
                kept.flush()
                write_atomically(note, json.dumps({"identity": identity, "done": done}))
                advance(done)
                beat()
        _save(out, kept, dataset)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error
    unfinished.unlink()
    note.unlink()
    return dim


def in_passes(network: Backbone, images: torch.Tensor) -> torch.Tensor:
    """The features (N, d) of images (N, C, H, W) uint8, a few images at a time; nothing is trained."""
    with torch.no_grad():
        return torch.cat([network(few) for few in images.split(PASS)])


def _rows(images: tuple[torch.Tensor, torch.Tensor], start: int, stop: int) -> torch.Tensor:
    """Rows of the training images followed by the test images; of one of the two alone."""
    train, test = images
    return train[start:stop] if start < len(train) else test[start - len(train) : stop - len(train)]


def _done(note: Path, identity: str) -> int:
    """How many images of the same work are done."""
    try:
        said = json.loads(note.read_text())
        return said["done"] if said["identity"] == identity else 0
    except (OSError, ValueError, KeyError):
        return 0


def _save(out: Path, features: np.ndarray, dataset: Dataset) -> None:
    names = np.array(dataset.class_names)
    n = len(dataset.train_labels)
    arrays = {"inputs": features[:n], "labels": names[dataset.train_labels.numpy()]}
    if len(dataset.test_labels):
        arrays |= {"test_inputs": features[n:], "test_labels": names[dataset.test_labels.numpy()]}
    partial = out.with_name(f".{out.name}.unfinished.npz")
    np.savez(partial, **arrays)
    os.replace(partial, out)
