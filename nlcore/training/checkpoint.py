"""Stop anywhere, go on exactly: the whole state of a run in one file, written once a minute and at every stop.

A checkpoint holds every weight, optimiser, batch-norm statistic and random state, what a method remembers, and the
history so far. It is a line with the SHA-256 of the rest, then what `torch.save` makes of plain values and tensors;
reading it never runs code (`weights_only`). The one before is kept: when the last one is damaged, or the machine died
while it was written, a run goes on from there and repeats the epochs since.

On a CPU the epochs that follow have the numbers of a run that was never stopped. On a GPU everything is brought back as
exactly, but two runs of the same epoch differ in their last digits, stopped or not: see `TrainConfig.device`.
"""

import hashlib
import io
import json
import logging
import os
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch

from nlcore.basics.errors import InputError, first_line
from nlcore.basics.files import write_atomically
from nlcore.basics.machine import code_version
from nlcore.methods import METHODS
from nlcore.training.state import Learner, State

log = logging.getLogger(__name__)

NAME, PREVIOUS = "checkpoint.pt", "checkpoint_previous.pt"
MAGIC = b"nlcore checkpoint "


@dataclass(frozen=True)
class Progress:
    """How far a run has come: rows of the history, seconds of all its parts, and, of a finished run, its samples."""

    history: list[dict[str, Any]]
    seconds: float
    samples: dict[str, list] | None = None


def save(folder: str | Path, state: State, noise: str, progress: Progress) -> None:
    """Write the state after an epoch; `noise` identifies the labels and the files of the run.

    Raises
    ------
    InputError : the folder cannot be written, or the disk is full. The checkpoint before is still there.
    """
    values = {
        "identity": identity(state, noise),
        **state_values(state),
        "history": progress.history,
        "seconds": progress.seconds,
        "samples": progress.samples,
    }
    content = io.BytesIO()
    torch.save(values, content)
    path = Path(folder) / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            os.replace(path, path.with_name(PREVIOUS))  # at every moment one of the two is whole
        write_atomically(path, sealed(content.getvalue()))
    except OSError as error:
        raise InputError(f"cannot write a checkpoint into {folder}: {error.strerror or error}") from error


def restore(folder: str | Path, state: State, noise: str) -> Progress | None:
    """Bring a fresh state to where a run stopped; None where the folder has no checkpoint.

    Raises
    ------
    InputError : the checkpoint is of another configuration, other data or other code, or no one of them is whole.
    """
    for left in Path(folder).glob(f".{NAME}.*"):  # half-written when a run was killed
        left.unlink(missing_ok=True)
    values, damaged = None, []
    for name in (NAME, PREVIOUS):
        path = Path(folder) / name
        if path.exists():
            try:
                values = read(path)
                break
            except InputError as error:
                damaged.append(str(error))
    if values is None:
        if damaged:
            raise InputError(f"{'; '.join(damaged)}; delete the folder to begin anew")
        return None
    for line in damaged:
        log.warning("%s; going on from the one before", line)
    if damaged:  # else the next save would put it in the place of the whole one
        (Path(folder) / NAME).unlink(missing_ok=True)
    _check_identity(values["identity"], identity(state, noise), folder)
    restore_state(state, values)
    return Progress(values["history"], values["seconds"], values["samples"])


def state_values(state: State) -> dict[str, Any]:
    """All that changes in a state, as plain values and tensors."""
    return {
        "learners": [_learner_values(learner) for learner in state.learners],
        "generator": state.generator.get_state(),
        "rng": state.rng.bit_generator.state,
    }


def restore_state(state: State, values: dict[str, Any]) -> None:
    """Bring a state to where `state_values` was taken."""
    device = state.given_labels.device
    for learner, stored in zip(state.learners, values["learners"], strict=True):
        _restore_learner(learner, stored, state.config.method, device)
    state.generator.set_state(values["generator"])
    state.rng.bit_generator.state = values["rng"]


def sealed(body: bytes) -> bytes:
    """The content of a file that `read` believes: a line with the checksum of the rest, then the rest."""
    return MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def read(path: Path) -> dict[str, Any]:
    """The values of a checkpoint file; an `InputError` that names the file if it is not whole."""
    try:
        header, _, body = path.read_bytes().partition(b"\n")
        if not header.startswith(MAGIC):
            raise InputError(f"{path} is not a checkpoint")
        if header.removeprefix(MAGIC).decode() != hashlib.sha256(body).hexdigest():
            raise InputError(f"{path} is damaged: its content does not fit its checksum")
        return torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # whatever a file from elsewhere does to the reader, it is not a checkpoint
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error


def identity(state: State, noise: str) -> dict[str, str]:
    """What must not change between two parts of a run."""
    labels = hashlib.sha256(state.given_labels.cpu().numpy()).hexdigest()[:12]
    # What `auto` stood for: the numbers depend on it.
    config = state.config.to_dict() | {"device": state.given_labels.device.type, "precision": state.precision}
    # A pool draws other labels every epoch.
    noise = noise if state.pool else f"{noise}, labels {labels}"
    return {"config": json.dumps(config, sort_keys=True), "labels": noise, "code": code_version()}


def _check_identity(stored: dict[str, str], current: dict[str, str], folder: str | Path) -> None:
    if stored["config"] != current["config"]:
        old, new = json.loads(stored["config"]), json.loads(current["config"])
        different = [name for name in new if old.get(name) != new[name]]
        raise InputError(
            f"{folder} holds a checkpoint of another configuration (different: {', '.join(different)}); "
            "choose another folder"
        )
    if stored["labels"] != current["labels"]:
        other = f"other data or labels ({stored['labels']})"
        raise InputError(f"{folder} holds a checkpoint of {other}; choose another folder")
    if stored["code"] != current["code"]:
        raise InputError(
            f"{folder} holds a checkpoint that other code has made ({stored['code']}, now {current['code']}); "
            "delete it to begin anew"
        )


def _learner_values(learner: Learner) -> dict[str, Any]:
    memory = {name: value for name, value in learner.memory.items() if name != "golden"}  # made anew every epoch
    return {
        "student": learner.student.state_dict(),
        "teacher": None if learner.teacher is learner.student else learner.teacher.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "memory": {name: v.state_dict() if hasattr(v, "state_dict") else v for name, v in memory.items()},
        "past_losses": learner.past_losses,
        "step": learner.step,
    }


def _restore_learner(learner: Learner, stored: dict[str, Any], method: str, device: torch.device) -> None:
    learner.student.load_state_dict(stored["student"])
    if stored["teacher"] is not None:
        learner.teacher.load_state_dict(stored["teacher"])
    learner.optimiser.load_state_dict(stored["optimiser"])
    rebuild = getattr(METHODS[method], "restore_memory", None)
    memory = on_device(device, stored["memory"])
    learner.memory = rebuild(memory, device) if rebuild else memory
    learner.past_losses = [losses.to(device) for losses in stored["past_losses"]]
    learner.step = stored["step"]


def on_device(device: torch.device, value: Any) -> Any:
    """The same value with every tensor in it on the device."""
    if is_dataclass(value):
        return type(value)(**{name: on_device(device, part) for name, part in vars(value).items()})
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: on_device(device, part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_device(device, part) for part in value)
    return value
