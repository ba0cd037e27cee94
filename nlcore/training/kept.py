"""Epochs that are trained once: runs that begin alike share their beginning.

The warm-up is the same for every method, and the chapters of the book look at the same runs from many sides. Where
`$NLCORE_KEPT_EPOCHS` names a folder, as the book's executor does, an epoch is a file there, named after all that it
depends on. Whoever comes to it first trains it and keeps it; the others read it, and have the same state to the last
bit. Without the folder everything here trains.
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from nlcore.basics.digests import content_digest
from nlcore.basics.errors import InputError
from nlcore.basics.files import KEPT_EPOCHS, in_file_name, user_path, write_atomically
from nlcore.basics.machine import code_version
from nlcore.basics.progress import beat
from nlcore.data.datasets import Dataset
from nlcore.methods import brings
from nlcore.noise.labels import NoisyLabels
from nlcore.selection.division import Division, Snapshot
from nlcore.selection.hallucination import Anchors
from nlcore.training import checkpoint, distributed, engine
from nlcore.training.config import TrainConfig
from nlcore.training.engine import Epoch
from nlcore.training.state import State, start

log = logging.getLogger(__name__)

LARGEST = 4_000_000  # bytes of an epoch that is kept: those of small networks on small data

# What a warm-up epoch does not depend on.
AFTER_WARMUP = ("method", "preset", "budget", "settings", "ssl", "warmup_epochs", "loss_history", "device", "precision")


def run(config: TrainConfig, dataset: Dataset, noisy: NoisyLabels) -> Iterator[Epoch]:
    """`nlcore.training.engine.run`, with epochs that may have been trained before."""
    return epochs(start(config.resolved(dataset), dataset, noisy))


def epochs(state: State, done: int = 0, keep_all: bool = True) -> Iterator[Epoch]:
    """`nlcore.training.engine.epochs`, with epochs that may have been trained before.

    What others have kept is read. What is trained here is kept too; without `keep_all` only the warm-up is, because a
    grid would fill the disk with later epochs that nobody asks for.

    What is done to the state between two epochs does not reach the kept ones: after that this run trains for itself.
    """
    folder = _folder()
    shared = folder is not None and distributed.size() == 1 and state.pool is None
    data = ""
    if shared:
        held = (state.images, state.given_labels, state.soft_labels, state.test_images, state.test_labels)
        data = content_digest(*(tensor for tensor in held if tensor is not None))
    left = _chance(state)
    for number in range(done, state.config.epochs):
        shared = shared and left == _chance(state)
        path = folder / _name(state, number, data) if shared else None
        keep = keep_all or number < state.config.warmup_epochs
        if not shared or not (keep or path.exists()):  # who has not kept this epoch has not kept the later ones
            yield from engine.epochs(state, number)
            return
        with FileLock(f"{path}.lock"):
            epoch = _read(path, state, number)
            if epoch is None:
                epoch = next(engine.epochs(state, number))
                if keep:
                    _keep(path, epoch)
        left = _chance(state)
        yield epoch


def _folder() -> Path | None:
    """Where epochs are kept, if anywhere."""
    name = os.environ.get(KEPT_EPOCHS)
    if not name:
        return None
    folder = user_path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("epochs are not kept: cannot write into %s (%s)", folder, error.strerror)
        return None
    return folder


def _name(state: State, number: int, data: str) -> str:
    """The name of an epoch's file: what a reader wants to know, and a digest of everything that it depends on."""
    config = state.config
    values = config.to_dict()
    part = config.method
    if number < config.warmup_epochs:
        part, values = "warmup", {name: value for name, value in values.items() if name not in AFTER_WARMUP}
        values["golden"] = getattr(config.settings, "golden", 0)
        if brings(config.method, "extra_heads", "warmup_loss"):
            values |= {"method": config.method, "settings": config.to_dict()["settings"]}
    here = [state.images.device.type, state.precision, torch.get_num_threads(), torch.__version__, code_version()]
    text = json.dumps([values, here, data, number], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return (
        f"{in_file_name(config.dataset)}_{config.noise_words()}_seed{config.seed}_{part}_{number + 1:03d}_{digest}.pt"
    )


def _chance(state: State) -> tuple:
    """What moves with every use of chance, and with every step."""
    steps = [learner.step for learner in state.learners]
    return state.generator.get_state().numpy().tobytes(), json.dumps(state.rng.bit_generator.state), steps


def _keep(path: Path, epoch: Epoch) -> None:
    state = epoch.state
    values = checkpoint.state_values(state) | {
        "row": epoch.row,
        "seen": (epoch.snapshot, epoch.division, epoch.report),
    }
    if _bytes(values) > LARGEST:
        return
    content = io.BytesIO()
    torch.save(values, content)
    try:
        write_atomically(path, checkpoint.sealed(content.getvalue()))
    except OSError as error:  # the run itself does not need it
        log.warning("an epoch is not kept: cannot write %s (%s)", path, error.strerror)


def _read(path: Path, state: State, number: int) -> Epoch | None:
    """The epoch in a file, with the state brought to its end; None if there is none, or it is damaged."""
    if not path.exists():
        return None
    try:
        with torch.serialization.safe_globals([Snapshot, Division, Anchors]):
            values = checkpoint.read(path)
    except InputError as error:
        log.warning("%s; trained again", error)
        return None
    beat()
    state.epoch = number
    engine.set_learning_rate(state)
    checkpoint.restore_state(state, values)
    seen = checkpoint.on_device(state.given_labels.device, values["seen"])
    return Epoch(state, values["row"], *seen, trained_elsewhere=True)


def _bytes(value: Any) -> int:
    """Size of all tensors in nested dictionaries, lists and dataclasses."""
    value = vars(value) if is_dataclass(value) else value
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(_bytes(part) for part in parts)
