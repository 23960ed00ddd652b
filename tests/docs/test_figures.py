"""Figures in the tables of README and docs: each has a command, and the command is one."""

import re
import shlex

import pytest
from support import REPOSITORY, composed

from benchmarks.config import BenchmarkConfig, ResultsConfig
from lightning_collab.config import validated

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
TABLE = re.compile(r"(?:^\|.*\|\n)+", re.MULTILINE)
CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.])|\b\d{1,3}(?:,\d{3})+\b|\b\d+ ?%")
COMMAND = re.compile(
    r"^(?:python )?scripts/(\w+)\.py(.*)$|^make (\w[\w-]*)|^lightning-collab (.*)$"
)
MADE = re.findall(r"^([a-z-]+):.*##", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


def commands_in(text):
    lines = [line for block, span in CODE.findall(text) for line in (block or span).splitlines()]
    return [line.split("  #")[0].strip() for line in lines if COMMAND.match(line.strip())]


def tables(page):
    """Each table with a figure: its rows, and the text that is said of them."""
    text = page.read_text()
    introduction = text.split("\n## ")[0]
    for found in TABLE.finditer(text):
        head, _, *rows = found.group().splitlines()
        if head.startswith(NOT_MEASURED) or not any(
            FIGURE.search(re.sub(r"`[^`]*`", "", row)) for row in rows
        ):
            continue
        start = max(text.rfind("\n## ", 0, found.start()), text.rfind("\n### ", 0, found.start()))
        end = text.find("\n\n", found.end() + 1)
        near = text[max(start, 0) : found.start()] + text[found.end() : end]
        # A page of results is written by one command, which its first lines name.
        yield rows, introduction + near if page.parent.name == "results" else near


# Formulas, settings, versions, and sizes that the files' own pages give.
NOT_MEASURED = (
    "| unknown | prior | source |",
    "| `loss=` | of each chosen pair | from |",
    "| | `softmax` | `bce` | `bpr` |",
    "| package | for | and not |",
    "| `data=` | ratings | users | items |",
    "| `split=` | test | val |",
    "| p | |",
    "| `data.order` | an epoch | for |",
)
WITH_FIGURES = [
    pytest.param(page, rows, said, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, (rows, said) in enumerate(tables(page))
]


@pytest.mark.parametrize(("page", "rows", "said"), WITH_FIGURES)
def test_each_figure_in_a_table_has_a_command_or_a_source(page, rows, said):
    if commands_in(said):
        return
    without = [
        row
        for row in rows
        if FIGURE.search(re.sub(r"`[^`]*`", "", row))
        and not commands_in(row)
        and not re.search(r"\| (published: .+|measured: \[peers\.md\].*) \|$", row)
    ]
    assert not without, "\n".join(without)


COMMANDS = sorted(
    {
        each
        for page in PAGES
        for rows, said in tables(page)
        for each in (*commands_in(said), *commands_in("\n".join(rows)))
        if "<" not in each and "..." not in each
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_beside_a_figure_is_one(command):
    script, typed, made, _ = COMMAND.match(command).groups()
    if made is not None:
        assert made in MADE
        return
    if script is None:
        return
    assert (REPOSITORY / "scripts" / f"{script}.py").is_file()
    overrides = [each for each in shlex.split(typed) if each != "-m"]
    asked = dict(each.split("=", 1) for each in overrides if "=" in each)
    if script == "benchmark":
        assert asked["group"] in BenchmarkConfig.model_fields["group"].annotation.__args__
    elif script == "results":
        assert asked["table"] in ResultsConfig.model_fields["table"].annotation.__args__
    elif script in ("train", "cross_validate") and "-m" not in shlex.split(typed):
        of_run = (each for each in overrides if not each.startswith(("compare=", "folds=")))
        validated(composed(*(each.replace("=u1..u5", "=u1") for each in of_run)))


def test_there_are_tables_with_figures_and_commands():
    pages = {parameters.values[0].name for parameters in WITH_FIGURES}
    assert {"README.md", "accuracy.md", "ranking.md", "bayesian-factors.md"} <= pages
    assert any(command.startswith("scripts/train.py") for command in COMMANDS)
