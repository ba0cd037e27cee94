"""Sphinx extension: no buttons that lead nowhere.

Until `python -m tools.repository ADDRESS` has said where the book's repository is, its address has an account's name
that no account can have; then no page offers to open its notebook on Colab or Binder.
"""

from sphinx.application import Sphinx
from sphinx.config import Config

NOWHERE = "nlcore_owner"


def hide_buttons(app: Sphinx, config: Config) -> None:
    """Take the launch buttons out of the theme's options while there is nothing to launch from."""
    options = config.html_theme_options
    if NOWHERE in options.get("repository_url", ""):
        options["launch_buttons"] = {}


def setup(app: Sphinx) -> dict[str, bool]:
    """Look at the options as soon as they are read."""
    app.connect("config-inited", hide_buttons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
