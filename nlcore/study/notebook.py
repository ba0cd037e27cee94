"""What the book's notebooks share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def glue(name: str, value: Any) -> None:
    """Make a value quotable in the book's text by `{glue:text}`; outside a book build's environment do nothing.

    Numbers are stored as they are and formatted where they are quoted: a page then cannot disagree with the run.
    """
    try:
        from myst_nb import glue as keep
    except ImportError:  # a notebook opened alone, on Colab for example
        return
    # numpy and torch scalars would be quoted as np.float64(0.5)
    keep(name, value.item() if hasattr(value, "item") else value, display=False)


def stored(*parts: str) -> Path:
    """The path of a stored result, looked up from a notebook's folder or from the repository's."""
    folders = [Path("..") / "results", Path("results"), Path(__file__).parents[2] / "results"]
    candidates = [folder.joinpath(*parts) for folder in folders]
    return next((path for path in candidates if path.exists()), candidates[0])


def judge(check: Callable[[Any], None], answer: Any) -> None:
    """Print whether an answer to an exercise passes its check.

    A check takes the answer and raises if it is wrong; an `AssertionError` with a hint is best. Nothing is raised here,
    so that a notebook with unsolved exercises runs to its end.
    """
    name = getattr(answer, "__name__", "the answer")
    try:
        check(answer)
    except Exception as error:  # whatever an unfinished answer raises
        words = str(error) or type(error).__name__
        print(f"✗ {name} does not pass yet: {words.splitlines()[0]}")
    else:
        print(f"✓ {name} passes the check")
