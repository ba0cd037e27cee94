"""Ranges of numbers: each is stated once, beside its field or its use, and says itself in words to whoever leaves it.

    tau: float = within(0.5, Range(0, 1))
    learning_rate: float | None = within(None, Range(above=0))

`check_fields` then looks at all fields of a configuration, at the type of each and at its range. A field may be None
where its annotation says so.
"""

import math
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

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


def check_fields(settings: Any) -> None:
    """Look at every field of a dataclass: at its range, if `within` has given it one, else at its type.

    Raises
    ------
    InputError : the first one that does not fit, by name, with its value and its range or type.
    """
    kinds = get_type_hints(type(settings))
    for one in fields(settings):
        value, kind = getattr(settings, one.name), kinds[one.name]
        bounds = one.metadata.get("range")
        if bounds is None:
            check_type(one.name, value, kind)
        elif not (value is None and _is_a(None, kind)):
            bounds.check(one.name, value, whole=not _is_a(0.5, kind))


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Raise an `InputError` unless a value fits the annotation of the field of that name."""
    if not _is_a(plain(value), annotation):
        words = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        raise InputError(f"{name} must be of type {words}, not {value!r}")


def _is_a(value: Any, annotation: Any) -> bool:
    """Whether a value fits a field's annotation: a whole number will do for a float, a bool only for a bool."""
    if annotation is Any:
        return True
    kinds = (get_origin(annotation),) if get_origin(annotation) is dict else get_args(annotation) or (annotation,)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


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
