"""Launch buttons are shown only where the repository has an address."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))
import launch


@pytest.mark.parametrize(("owner", "kept"), [("nlcore_owner", False), ("someone", True)])
def test_buttons_need_an_address(owner: str, kept: bool) -> None:
    options = {"repository_url": f"https://github.com/{owner}/book", "launch_buttons": {"colab_url": "x"}}
    launch.hide_buttons(None, SimpleNamespace(html_theme_options=options))
    assert bool(options["launch_buttons"]) == kept


def test_a_theme_without_buttons_is_left_alone() -> None:
    options = {}
    launch.hide_buttons(None, SimpleNamespace(html_theme_options=options))
    assert options == {}
