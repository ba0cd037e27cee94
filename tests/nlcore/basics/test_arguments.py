"""Words of a command line become the values that they look like."""

import pytest

from nlcore import InputError
from nlcore.basics.arguments import key_values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=1e-3", 0.001),
        ("x=.5", 0.5),
        ("x=2", 2),
        ("x=true", True),
        ("x=False", False),
        ("x=off", "off"),  # a way of `meta`, which a YAML reader would make False
        ("x=none", "none"),  # a way of `threshold`
        ("x=null", None),
        (' x = {"include_true": false}', {"include_true": False}),
        ("x=a=b", "a=b"),
    ],
)
def test_values_of_the_command_line_are_read_as_what_they_look_like(text, value):
    read = key_values([text])["x"]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(("words", "said"), [(["x"], "not of the form KEY=VALUE"), (["x=1", "x=2"], "x is said twice")])
def test_what_is_no_pair_or_said_twice_is_refused(words, said):
    with pytest.raises(InputError, match=said):
        key_values(words)
