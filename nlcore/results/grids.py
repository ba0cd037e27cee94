"""A benchmark grid: a YAML file that says which runs there shall be.

settings:                       # fields of the configuration that all cells share
  dataset: cifar10
  subset: 10000
cells:                          # one block or several; each is the product of its lists
  - noise: [symmetric:0.5, human:worst]
    method: [ce, tssd]
    seed: [0, 1, 2]

A noise holds its rate, and no list is empty: what would be left out without a word is refused.
"""

import itertools
from pathlib import Path
from typing import Any

import yaml

from nlcore.basics.errors import InputError, first_line
from nlcore.basics.files import user_path
from nlcore.results.cells import by_name, parse_noise
from nlcore.training.config import TrainConfig, with_overrides


class OnceLoader(yaml.SafeLoader):
    """YAML in which a mapping says a key once; the usual loader takes the last one."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise InputError(f"line {node.start_mark.line + 1} says {twice!r} twice")
        return node


def read_grid(path: str | Path) -> dict[str, TrainConfig]:
    """The cells of a grid file by name, in the order of the file.

    Raises
    ------
    InputError : a file that cannot be read, an unknown key or a value out of range; the message names the file and the
        block.
    """
    try:
        values = yaml.load(user_path(path).read_text(encoding="utf-8"), OnceLoader)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8; save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}: {error.problem}" if mark else f": {first_line(error)}"
        raise InputError(f"{path} is not YAML{place}") from error
    if not isinstance(values, dict) or not isinstance(values.get("cells"), list):
        raise InputError(f"{path} has no list `cells`")
    if unknown := sorted(set(values) - {"settings", "cells"}):
        raise InputError(f"{path}: unknown key {unknown[0]!r}; a grid has settings and cells")
    configs = []
    for number, block in enumerate(values["cells"], 1):
        try:
            configs += block_configs(values.get("settings") or {}, block)
        except InputError as error:
            raise InputError(f"{path}, block {number} of cells: {error}") from error
    return by_name(configs)


def block_configs(settings: dict[str, Any], block: dict[str, Any]) -> list[TrainConfig]:
    """The configurations of one block: every combination of its lists, the first key varying slowest."""
    if not isinstance(settings, dict) or not isinstance(block, dict):
        raise InputError("settings and every block of cells must be mappings")
    if empty := [name for name, values in block.items() if values == []]:
        raise InputError(f"{empty[0]} is an empty list, which names no cell; give it a value or leave it out")
    lists = [values if isinstance(values, list) else [values] for values in block.values()]
    return [cell_config(settings | dict(zip(block, chosen, strict=True))) for chosen in itertools.product(*lists)]


def cell_config(values: dict[str, Any]) -> TrainConfig:
    """The resolved configuration of one cell; `noise` is of the form KIND:RATE."""
    values = dict(values)
    if "noise" in values:
        if "rate" in values:
            raise InputError(f"noise {values['noise']} says its rate itself; leave out rate")
        values["noise"], rate = parse_noise(values["noise"])
        if rate is not None:
            values["rate"] = rate
    return with_overrides(TrainConfig(dataset=values.get("dataset", "digits")), values).resolved()
