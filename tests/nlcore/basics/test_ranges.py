import json
from dataclasses import dataclass

import numpy as np
import pytest

from nlcore.basics.errors import InputError
from nlcore.basics.ranges import Range, check_fields, plain, within


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        (Range(1), (1, 2.5, 10**400), (0, 0.999), "be at least 1"),
        (Range(above=0), (1e-9, 7), (0, -1), "be above 0"),
        (Range(0, 1), (0, 1, 0.5), (-1e-9, 1.001), "lie in [0, 1]"),
        (Range(0, below=1), (0, 0.999), (-1, 1), "lie in [0, 1)"),
        (Range(above=0, high=1), (0.001, 1), (0, 2), "lie in (0, 1]"),
    ],
    ids=str,
)
def test_a_range_knows_what_lies_inside_and_says_so(bounds, inside, outside, words):
    assert str(bounds) == words
    assert all(value in bounds for value in inside)
    for value in (*outside, float("nan"), float("inf"), -float("inf"), None, "1", True):
        with pytest.raises(InputError, match=r"share must .*, not ") as error:
            bounds.check("share", value)
        assert words in str(error.value) and "\n" not in str(error.value)


def test_a_whole_number_is_asked_for_by_name():
    assert Range(0).check("seed", 3, whole=True) == 3
    with pytest.raises(InputError, match=r"seed must be a whole number, not 3\.0"):
        Range(0).check("seed", 3.0, whole=True)


def test_only_a_field_that_may_be_none_is_left_open():
    @dataclass(frozen=True)
    class Settings:
        share: float = within(0.5, Range(0, 1))
        rounds: int | None = within(None, Range(1))

    check_fields(Settings())
    for changes in ({"share": None}, {"rounds": 0}, {"rounds": 1.0}):
        with pytest.raises(InputError, match=f"{next(iter(changes))} must "):
            check_fields(Settings(**changes))


def test_numbers_of_numpy_become_plain_ones_also_in_a_dictionary():
    value = plain({"a": np.int64(1), "b": {"c": np.float32(0.5), "d": np.bool_(True)}, "e": "text"})
    assert json.dumps(value) == '{"a": 1, "b": {"c": 0.5, "d": true}, "e": "text"}'
