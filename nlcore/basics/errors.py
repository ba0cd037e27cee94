"""The exceptions that are not a bug of ours: your input, a run that diverged, and a run that was stopped."""

from types import UnionType


class InputError(ValueError):
    """Something that the user can mend: a wrong name, a broken file, labels out of range.

    Its message is one line, names what is wrong and what would be right. The command line prints it
    and exits with status 2.
    """


class DivergenceError(RuntimeError):
    """The loss became NaN or infinite; the message says in which epoch."""


class Paused(RuntimeError):
    """A run stopped before its end, on SIGTERM or a time budget; its checkpoint lets the same command go on."""


class NotBegun(Paused):
    """A run for which no time was left: nothing was done, and nothing was written."""


def choose(kind: str, name: str, valid) -> str:
    """Return `name` if it is one of `valid`; raise an `InputError` that lists the valid names if not."""
    if name not in valid:
        raise InputError(f"unknown {kind} {name!r}; choose one of: {', '.join(map(str, valid))}")
    return name


def require(value: object, kind: type | UnionType, what: str, hint: str = "") -> None:
    """Raise an `InputError` unless a value is of a kind; `hint` says how to get one."""
    if not isinstance(value, kind):
        wanted = kind.__name__ if isinstance(kind, type) else kind.__args__[0].__name__
        raise InputError(f"{what} must be of type {wanted}, not {type(value).__name__}{hint}")


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its name if it says nothing: for messages of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
