"""The house and its walls: what each wing of the package may know, and that its rooms stay small."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "nlcore"
ROW = r"^\| `(\w+)` \| (.+) \| (.+) \|$"
WINGS = [name for name, _, _ in re.findall(ROW, (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M)]
FACES = ["cli_options", "cli", "__main__", "__init__"]  # they come after every wing
CORE = ("data", "noise", "selection", "methods", "training")


def imported(text: str) -> list[str]:
    """The modules of nlcore that a source file imports, wherever in the file."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.append("nlcore.relative")  # a name that no wing has: relative imports hide where they go
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.split(".")[0] == "nlcore"]


def broken_walls(wing: str, text: str) -> list[str]:
    """What a source file of a wing imports and must not know."""
    order = {name: place for place, name in enumerate([*WINGS, *FACES])}
    places = [(name, order.get([*name.split("."), "__init__"][1], len(order))) for name in imported(text)]
    return [name for name, place in places if place > order[wing]]


def wing_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


def test_the_wings_are_the_folders_of_the_package() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(WINGS) and len(WINGS) == len(set(WINGS))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_wing_knows_a_later_one(path: Path) -> None:
    assert broken_walls(wing_of(path), path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("wing", "line"),
    [
        ("noise", "from nlcore.training.clean_model import clean_predictions"),
        ("selection", "def f():\n    from nlcore.methods import tssd"),
        ("methods", "import nlcore.training.engine"),
        ("training", "from nlcore import results"),
        ("results", "from nlcore.study.plots import use_style"),
        ("study", "from nlcore.cli import main"),
        ("data", "from nlcore import load_dataset"),  # the face imports everything
        ("basics", "import nlcore"),
        ("methods", "from ..training import engine"),
    ],
)
def test_an_import_from_a_later_wing_is_found(wing: str, line: str) -> None:
    assert len(broken_walls(wing, line)) == 1


def test_an_import_from_an_earlier_wing_or_from_elsewhere_is_allowed() -> None:
    text = "import torch\nfrom nlcore.basics.errors import InputError\nfrom nlcore.training import engine"
    assert broken_walls("training", text) == []


def test_ideas_and_methods_read_no_file() -> None:
    for path in (path for path in SOURCES if wing_of(path) in ("selection", "methods")):
        assert not any("basics.files" in name or "data.folders" in name for name in imported(path.read_text("utf-8")))
        assert not re.search(r"\bopen\(|read_text|write_text|Path\(", path.read_text("utf-8")), path


def test_training_asks_a_method_and_never_which() -> None:
    for path in (path for path in SOURCES if wing_of(path) == "training"):
        names = [name for name in imported(path.read_text("utf-8")) if name.startswith("nlcore.methods.")]
        assert {name.split(".")[2] for name in names} <= {"METHODS", "brings", "labelled_sets", "set_names"}, path


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "book/api.md"])
def test_the_table_of_wings_is_the_same_wherever_it_stands(page: str) -> None:
    tables = [re.findall(ROW, (ROOT / name).read_text("utf-8"), re.M) for name in ("CONTRIBUTING.md", page)]
    assert tables[0] == tables[1] and len(tables[0]) == len(WINGS)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("nlcore", "torch"),
        ("nlcore.basics.progress", "torch"),
        ("nlcore.noise.corrupt", "nlcore.training"),
        ("nlcore.selection.voting", "nlcore.training"),
        ("nlcore.methods", "nlcore.training"),
        ("nlcore.training.run", "nlcore.results"),
        ("nlcore.training.run", "torchvision"),
        ("nlcore.cli", "nlcore.study"),
    ],
)
def test_who_imports_a_wing_does_not_load_the_later_ones(module: str, absent: str) -> None:
    code = f"import sys, {module}\nsys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_top_of_the_package_has_at_most_thirteen_entries() -> None:
    entries = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert len(entries) <= 13 and entries == {*WINGS, *(f"{face}.py" for face in FACES)}


def test_no_file_has_more_than_300_lines() -> None:
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert [path.name for path in files if len(path.read_text("utf-8").splitlines()) > 300] == []


def test_the_readme_says_how_long_the_core_is() -> None:
    """To the next hundred; whoever changes more than that changes the number."""
    lines = sum(len(p.read_text("utf-8").splitlines()) for wing in CORE for p in (PACKAGE / wing).rglob("*.py"))
    said = re.search(r"is ([\d,]+) lines,\ncomments and docstrings included", (ROOT / "README.md").read_text("utf-8"))
    assert int(said[1].replace(",", "")) == round(lines, -2), f"the core has {lines} lines"


def test_the_tests_mirror_the_package() -> None:
    """But for those of every method at once."""
    here, every = Path(__file__).parent, ("methods", "protocol", "on_a_device")
    for test in here.glob("*/test_*.py"):
        name = test.stem.removeprefix("test_")
        wing = PACKAGE / test.parent.name
        assert (wing / f"{name}.py").is_file() or (wing / name).is_dir() or name in every, test
