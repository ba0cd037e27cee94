"""The files that a run is made from: a result and a checkpoint know whether these are still the ones that they saw."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from nlcore.basics.digests import file_digest
from nlcore.basics.errors import InputError
from nlcore.basics.files import user_path
from nlcore.data.arrays import labels_beside
from nlcore.data.own import PREFIX, image_files
from nlcore.noise.corrupt import label_file
from nlcore.training.config import TrainConfig


def origins(config: TrainConfig) -> dict[str, str]:
    """Digests of own data, their test set and the file of labels, each where the configuration names one that exists.

    They are of contents, not of times, so that they hold in another copy of the files; image files go by name and size,
    which is what can be asked of a million of them. The images that a table names are not looked at.
    """
    named: dict[str, Path] = {}
    if config.dataset.startswith(PREFIX):
        named["data"] = user_path(config.dataset.removeprefix(PREFIX))
        if isinstance(test := config.data_options.get("test"), str):
            named["test set"] = user_path(test.removeprefix(PREFIX))
    with contextlib.suppress(InputError):  # a result can be asked for where its files are not
        if file := label_file(config.noise, config.dataset, config.noise_options):
            named["label file"] = file
    return {what: _digest(path) for what, path in named.items() if path.exists()}


def changed_origins(stored: dict[str, Any], config: TrainConfig) -> list[str]:
    """Which of the files that a stored result saw are others now; of older results nothing is known."""
    seen = stored.get("origins", {})
    return [what for what, digest in origins(config).items() if seen.get(what, digest) != digest]


def _digest(path: Path) -> str:
    if path.is_dir():
        names = [f"{file.relative_to(path).as_posix()} {file.stat().st_size}" for file in image_files(path)]
        return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
    beside = labels_beside(path) if path.suffix.lower() == ".npy" else None
    return " ".join(file_digest(file) for file in (path, beside) if file is not None)
