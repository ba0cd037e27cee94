"""One run of a grid has one name, which is that of its file: a grid that grows runs only what is new."""

import hashlib
import json
from collections.abc import Iterable

from nlcore.basics.errors import InputError
from nlcore.basics.files import in_file_name
from nlcore.noise.corrupt import WITHOUT_RATE, split_kind
from nlcore.training.config import TrainConfig

NAMED = ("dataset", "subset", "noise", "rate", "method", "preset", "networks", "budget", "epochs", "seed")


def parse_noise(text: str) -> tuple[str, float | None]:
    """`"idn_xia:0.4"` -> `("idn_xia", 0.4)`, `"human:worst"` -> `("human:worst", None)`; an `InputError` else."""
    text = str(text)
    if text.partition(":")[0] in WITHOUT_RATE:
        split_kind(text)
        return text, None
    kind, _, rate = text.partition(":")
    split_kind(kind)
    try:
        return kind, float(rate)
    except ValueError:
        raise InputError(f"noise {text!r} is not of the form KIND:RATE, e.g. symmetric:0.4") from None


def noise_title(kind: str, rate: float | None) -> str:
    """A noise for the eye: `symmetric 50 %`, `human:worst`."""
    return kind if rate is None else f"{kind} {100 * rate:.0f} %"


def cell_name(config: TrainConfig) -> str:
    """The name of a cell's file, without `.json`: dataset, subset, noise, rate, method, preset, networks if there are
    two, budget if there is one, epochs, seed.

    A configuration that says more than these has eight hexadecimal digits appended, so that no two share a name.
    """
    config = config.resolved()
    subset = [] if config.subset is None else [f"n{config.subset}"]
    networks = [] if config.networks == 1 else [f"{config.networks}networks"]
    budget = [] if config.budget is None else [config.budget]
    dataset = in_file_name(config.dataset)
    parts = [dataset, *subset, config.noise_words(), config.method, config.preset, *networks, *budget]
    parts += [f"{config.epochs}epochs", f"seed{config.seed}"]
    named = TrainConfig(**{name: getattr(config, name) for name in NAMED}).resolved()
    # A file's path is more than its letters.
    if config != named or config.noise.startswith(("file:", "annotators:")) or dataset != config.dataset:
        parts.append(hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()[:8])
    return "_".join(parts)


def by_name(configs: Iterable[TrainConfig]) -> dict[str, TrainConfig]:
    """Cell name -> configuration, each once; an `InputError` if there is none."""
    cells = {cell_name(config): config for config in configs}
    if not cells:
        raise InputError("the grid has no cell")
    return cells
