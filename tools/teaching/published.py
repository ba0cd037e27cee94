"""The kit beside the built book: the zip to download, and the slides of the first chapter to look at before."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from nlcore.basics.files import save_file
from tools.teaching.kit import NAME, checked_kit, zipped

FOLDER = "teaching"  # in the built book; its pages of notebooks lie beside it


@dataclass(frozen=True)
class Published:
    """What was put beside the book, by addresses from its top."""

    kit: str
    megabytes: float
    slides: str
    chapters: int


def publish(root: Path, executed: Path, book: Path) -> Published:
    """Put the kit into the folder of a built book. An older one goes in any case: its numbers are not these pages'."""
    shutil.rmtree(book / FOLDER, ignore_errors=True)
    files = checked_kit(root, executed)
    content = zipped(files)
    decks = [name for name in files if re.fullmatch(r"slides/\w+\.html", name)]
    save_file(book / FOLDER / f"{NAME}.zip", content)
    for name, shown in sample(files, decks[0]).items():
        save_file(book / FOLDER / name, shown)
    return Published(f"{FOLDER}/{NAME}.zip", len(content) / 1e6, f"{FOLDER}/{decks[0]}", len(decks))


def sample(files: dict[str, bytes], deck: str) -> dict[str, bytes]:
    """The files of one deck; its links to other decks, which stay in the zip, lead to the pages of the book."""
    shared = {name: content for name, content in files.items() if name.startswith(("slides/assets/", "book/"))}
    return shared | {deck: re.sub(rb'href="(\w+\.html)"', rb'href="../../notebooks/\1"', files[deck])}
