"""Ranges of numbers: each is stated once, beside its field or its use, and says itself in words to whoever leaves it.

    tau: float = within(0.5, Range(0, 1))
    learning_rate: float | None = within(None, Range(above=0))

`check_ranges` then looks at all such fields of a configuration. A field may be None where its annotation says so.
"""

import math
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, get_args, get_type_hints

import numpy as np

from nlcore.basics.errors import InputError


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`. An end given as `above` or `below` is outside itself; there may be no upper end.

    NaN and infinity are never inside.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            -math.inf < value < math.inf
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """What a number must do: `be at least 1`, `be above 0`, `lie in [0, 1)`."""
        low = f"[{self.low}" if self.above is None else f"({self.above}"
        high = f"{self.high}]" if self.below is None else f"{self.below})"
        if self.high is None and self.below is None:
            return f"be at least {self.low}" if self.above is None else f"be above {self.above}"
        return f"lie in {low}, {high}"

    def check(self, name: str, value: Any, whole: bool = False) -> Any:
        """The value as a number of Python's own; `whole` asks for an integer.

        Raises
        ------
        InputError : it is no such number, or lies outside.
        """
        value = plain(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{name} must {self}, not {value!r}, which is no number")
        if value not in self:
            finite = " and finite" if value in (math.inf, -math.inf) else ""
            raise InputError(f"{name} must {self}{finite}, not {value!r}")
        if whole and not isinstance(value, int):
            raise InputError(f"{name} must be a whole number, not {value!r}")
        return value


SHARE = Range(0, 1)


def within(default: Any, bounds: Range) -> Any:
    """A field of a dataclass with its default and its range."""
    return field(default=default, metadata={"range": bounds})


def check_ranges(settings: Any) -> None:
    """Look at every field of a dataclass that `within` has given a range, or that is true or false.

    Raises
    ------
    InputError : the first one outside, by name, with its value and its range.
    """
    kinds = get_type_hints(type(settings))
    for one in fields(settings):
        allowed = get_args(kinds[one.name]) or (kinds[one.name],)
        value = getattr(settings, one.name)
        if value is None and type(None) in allowed:
            continue
        if bounds := one.metadata.get("range"):
            bounds.check(one.name, value, whole=float not in allowed)
        elif set(allowed) <= {bool, type(None)} and not isinstance(value, bool):
            raise InputError(f"{one.name} must be True or False, not {value!r}")


def plain(value: Any) -> Any:
    """A number of numpy's as Python's own, which JSON can write, also inside dictionaries; anything else as it is."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def plain_fields(settings: Any) -> Any:
    """A dataclass, and those in its fields, with `plain` values."""
    values = {one.name: getattr(settings, one.name) for one in fields(settings)}
    for name, value in values.items():
        nested = is_dataclass(value) and not isinstance(value, type)
        values[name] = plain_fields(value) if nested else plain(value)
    return replace(settings, **values)
