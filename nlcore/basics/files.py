"""Files that are never seen half-written, folders that one process has to itself, and that of what is trained once."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from nlcore.basics.errors import InputError, first_line

KEPT_EPOCHS = "NLCORE_KEPT_EPOCHS"  # the environment variable that names the folder, see `nlcore.training.kept`
LOCK = ".lock"


def user_path(path: str | Path) -> Path:
    """A path as a user writes it: `~` is the home folder. A shell leaves it alone in `--out=~/x`, Python everywhere."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path} is no path ({first_line(error)})") from error


def in_file_name(text: str) -> str:
    """A text as a part of a file's name: what a path or a shell would read otherwise becomes `-`."""
    return re.sub(r"[^\w.-]", "-", text)


def suffix_of(path: Path, *suffixes: str) -> str:
    """Which of the suffixes a file to be written has, in any case; an `InputError` names them if it has none."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"cannot write {path}: its name must end in {' or '.join(suffixes)}")
    return path.suffix.lower()


def save_file(path: Path, content: str | bytes) -> None:
    """Make the folder and write the file, whole or not at all; an `InputError` of one line says why it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def check_writable(folder: Path) -> None:
    """An `InputError` of one line where a folder cannot be made, or not be written. Nothing is made."""
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}") from error


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Make a folder and have it to oneself inside the block. Afterwards nothing is left of the lock, nor of a folder
    that was made for it and has stayed empty.

    Raises
    ------
    InputError : at once, if another process has it, or if it cannot be written.
    """
    folder = Path(folder).absolute()
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / LOCK
    lock = FileLock(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another run is writing into {folder}; wait for its end, or choose another folder") from None
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever opens it now sees that it is gone, and makes another
        lock.release()
        with contextlib.suppress(OSError):  # the first folder that is not empty
            for empty in made:
                empty.rmdir()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a text (as UTF-8) or bytes: to a neighbour first, then renamed, so that a reader meets all or nothing.

    Raises
    ------
    OSError : a folder that is missing or cannot be written, a full disk.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
