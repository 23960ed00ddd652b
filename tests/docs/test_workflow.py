"""What the project promises to others: its workflow, its hooks and its pages fit the repository."""

import re
import tomllib

import pytest
import yaml
from support import REPOSITORY

WORKFLOW = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
HOOKS = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def test_each_command_of_the_workflow_exists():
    commands = [step["run"] for step in STEPS if "run" in step]
    assert ".ci/run" in commands
    for command in commands:
        program, *arguments = command.split()
        if program == "make":
            assert set(arguments) <= TARGETS
        else:
            assert (REPOSITORY / program).stat().st_mode & 0o111, program


def test_each_make_target_of_ci_exists():
    script = (REPOSITORY / ".ci/run").read_text()
    assert set(re.findall(r"^make ([a-z-]+)$", script, re.MULTILINE)) <= TARGETS


def test_actions_are_pinned_and_may_only_read():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not [job for job in WORKFLOW["jobs"].values() if "permissions" in job]
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used
    for each in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", each), each


def test_the_workflow_tests_every_python_from_the_oldest_that_is_supported():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pythons = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13"]
    assert project["requires-python"] == f">={pythons[0]}"


def test_hooks_run_the_tools_of_make_check():
    entries = [hook["entry"] for repo in HOOKS["repos"] for hook in repo["hooks"]]
    checks = re.search(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
    tools = {line.split()[0].removeprefix("$(BIN)/") for line in checks.splitlines()}
    assert {entry.split()[0].removeprefix(".venv/bin/") for entry in entries} == tools


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CHANGELOG.md", "docs/robustness.md"])
def test_paths_on_a_page_are_there(page):
    text = (REPOSITORY / page).read_text()
    folder = (REPOSITORY / page).parent
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (folder / link).exists(), link
    named = re.findall(r"`((?:src|tests|conf|docs|scripts|\.ci)/[\w./-]+)`", text)
    for path in named:
        assert (REPOSITORY / path).exists(), path


def test_servers_are_on_localhost_only():
    serving = re.findall(r"^\t.*tensorboard.*--logdir.*$", MAKEFILE, re.MULTILINE)
    assert serving
    assert all("--host localhost" in line for line in serving)
    for path in (REPOSITORY / "src").rglob("*.py"):
        text = path.read_text()
        assert "0.0.0.0" not in text, path
        assert "bind_all" not in text, path
