"""The workflows: what they call exists, nothing may write but the publishing job, the weekly ones are weekly."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
each = pytest.mark.parametrize("name", WORKFLOWS)


def read(name: str) -> dict:
    workflow = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    workflow["on"] = workflow.pop(True)  # YAML 1.1 takes the word `on` for true
    return workflow


def steps(name: str) -> Iterator[dict]:
    for job in read(name)["jobs"].values():
        yield from job["steps"]


def test_there_are_three() -> None:
    assert list(WORKFLOWS) == ["book", "links", "weekly"]


@each
def test_every_command_exists(name: str) -> None:
    commands = "\n".join(step["run"] for step in steps(name) if "run" in step)
    rules = re.findall(r"^([\w./$()]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = set(rules) - {"$(READY)"} | {".venv/.ready"}
    assert set(re.findall(r"\bmake (\S+)", commands)) <= targets
    assert all((ROOT / "tools" / f"{module}.py").is_file() for module in re.findall(r"-m tools\.(\w+)", commands))
    assert all((ROOT / script).is_file() for script in re.findall(r"\.ci/\w+", commands))


@each
def test_actions_are_githubs_own_at_a_major_version(name: str) -> None:
    uses = [step["uses"] for step in steps(name) if "uses" in step]
    assert uses
    assert [action for action in uses if not re.fullmatch(r"actions/[\w-]+@v\d+", action)] == []


@each
def test_every_python_is_one_that_the_project_supports(name: str) -> None:
    supported = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    asked = re.findall(r"\"(3\.\d+)\"", WORKFLOWS[name].read_text())
    assert asked
    assert all(supported.contains(version) for version in asked)


@each
def test_only_publishing_may_write(name: str) -> None:
    workflow = read(name)
    assert workflow["permissions"] == {"contents": "read"}
    for job, content in workflow["jobs"].items():
        rights = {"pages": "write", "id-token": "write"} if job == "publish" else None
        assert content.get("permissions") == rights
        assert job == "publish" or content["timeout-minutes"] <= 60


@pytest.mark.parametrize("name", ["weekly", "links"])
def test_schedule_is_weekly(name: str) -> None:
    triggers = read(name)["on"]
    assert set(triggers) == {"schedule", "workflow_dispatch"}
    (schedule,) = triggers["schedule"]
    minute, hour, day, month, weekday = schedule["cron"].split()
    assert (day, month) == ("*", "*")
    assert all(number.isdigit() for number in (minute, hour, weekday))


def test_the_checked_book_is_published_from_main_alone() -> None:
    workflow = read("book")
    assert workflow["on"]["push"] == {"branches": ["main"]}
    assert "pull_request" in workflow["on"]
    check, build, publish = (workflow["jobs"][name] for name in ("check", "build", "publish"))
    assert check["steps"][-1]["run"] == ".ci/run"
    upload = build["steps"][-1]
    assert upload["uses"].startswith("actions/upload-pages-artifact@")
    assert upload["with"]["path"] == "_build/html"
    assert publish["needs"] == ["check", "build"]
    assert publish["if"] == "github.event_name == 'push' && github.ref == 'refs/heads/main'"
    assert publish["steps"][0]["uses"].startswith("actions/deploy-pages@")


def test_the_published_book_names_the_repository_that_it_is_built_from() -> None:
    commands = [step.get("run", "") for step in read("book")["jobs"]["build"]["steps"]]
    address = next(number for number, text in enumerate(commands) if "tools.repository" in text)
    assert "$GITHUB_REPOSITORY" in commands[address]
    assert address < commands.index("make book")


def test_every_week_the_notebooks_run_on_two_pythons_and_as_on_colab() -> None:
    jobs = read("weekly")["jobs"]
    assert jobs["notebooks"]["strategy"]["matrix"]["python"] == ["3.11", "3.12"]
    commands = [step.get("run") for step in jobs["notebooks"]["steps"]]
    assert "make notebooks" in commands  # at its default, the standard profile
    assert "make sphinx" in commands
    assert "tools.alone" in jobs["colab"]["steps"][-1]["run"]
    assert re.search(r"^PROFILE \?= standard$", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_week_the_links_are_followed() -> None:
    assert "make links PROFILE=smoke" in [step.get("run") for step in steps("links")]
    (builder,) = re.findall(r"^links:.*\n\t.*tools\.plain_sphinx (\w+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert builder == "linkcheck"
