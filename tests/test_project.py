"""The files that describe the project agree with each other."""

import re
import subprocess
import tomllib
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FOLDERS = {"benchmark", "nlcore", "notebooks", "book", "tests", "tools", "results"}
FILES = {"_config.yml", "_toc.yml", "environment.yml", "pyproject.toml", "constraints.txt", "Makefile"}
DOCUMENTS = {"README.md", "LICENSE", "CITATION.cff", "CONTRIBUTING.md"}


def direct_requirements() -> list[Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    return [Requirement(line) for line in lines]


def parameters_cells(notebook: Path) -> list[nbformat.NotebookNode]:
    cells = nbformat.read(notebook, as_version=4).cells
    return [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]


def conda_dependencies() -> list:
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def test_conda_installs_the_project_with_all_extras_at_the_pinned_versions() -> None:
    (pip,) = [item["pip"] for item in conda_dependencies() if isinstance(item, dict)]
    extras = ",".join(sorted(PROJECT["optional-dependencies"]))
    assert pip == ["-c constraints.txt", f"-e .[{extras}]"]


def test_conda_leaves_every_package_to_pip() -> None:
    names = {Requirement(item).name for item in conda_dependencies() if isinstance(item, str)}
    assert names == {"python", "pip"}


def test_conda_and_pyproject_ask_for_the_same_oldest_python() -> None:
    (python,) = [Requirement(item) for item in conda_dependencies() if str(item).startswith("python")]
    assert set(SpecifierSet(PROJECT["requires-python"])) <= set(python.specifier)


def test_constraints_are_plain_pins() -> None:
    assert [line for line in CONSTRAINTS if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []


def test_constraints_pin_every_direct_dependency_within_its_range() -> None:
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in CONSTRAINTS)}
    for requirement in direct_requirements():
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement.name


def test_top_level_holds_nothing_else() -> None:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    entries = {line.split("/")[0] for line in listing.stdout.splitlines()}
    assert {entry for entry in entries if not entry.startswith(".")} <= FOLDERS | FILES | DOCUMENTS


def test_every_profile_names_every_notebook() -> None:
    profiles = yaml.safe_load((ROOT / "notebooks" / "profiles.yml").read_text())
    assert list(profiles) == ["smoke", "standard", "full"]
    for profile, entries in profiles.items():
        assert sorted(entries) == [notebook.stem for notebook in NOTEBOOKS], profile


def test_every_profile_sets_declared_parameters() -> None:
    profiles = yaml.safe_load((ROOT / "notebooks" / "profiles.yml").read_text())
    for entries in profiles.values():
        for name, entry in entries.items():
            assert set(entry) <= {"parameters", "cores"}
            declared = papermill.inspect_notebook(str(ROOT / "notebooks" / f"{name}.ipynb"))
            assert set(entry["parameters"]) <= set(declared), name


def test_every_notebook_is_a_chapter() -> None:
    toc = (ROOT / "_toc.yml").read_text()
    chapters = re.findall(r"file: notebooks/(\S+)", toc)
    assert sorted(chapters) == [notebook.stem for notebook in NOTEBOOKS]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(notebook: Path) -> None:
    code = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_names_a_python_kernel(notebook: Path) -> None:
    kernelspec = nbformat.read(notebook, as_version=4).metadata.kernelspec
    assert (kernelspec.name, kernelspec.language) == ("python3", "python")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_explains_its_parameters(notebook: Path) -> None:
    (cell,) = parameters_cells(notebook)
    declared = papermill.inspect_notebook(str(notebook))
    assert len(declared) == len(re.findall(r"^\w+\s*[:=]", cell.source, re.MULTILINE))  # none that papermill misreads
    assert [name for name, parameter in declared.items() if not parameter["help"]] == []
