"""Which tests run which line of the package, and how long they take; for mutants.py.

A line in a compiled function is run by the tests that run a function that mentions it, and a line
outside any function by those that run what mentions its name. Other lines of which nothing was
recorded are run by no test, but those in processes of their own.
"""

import ast
import hashlib
import json
import subprocess
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "src/lightning_collab"
# Those of commands, docs and kills run in processes of their own, which are not followed.
FOLLOWED = ("models", "losses", "metrics", "data", "training", "inference", "tuning", "api", "runs")


class Named(NamedTuple):
    """A function, or another statement at the top of a module, and what it mentions."""

    file: str
    name: str
    lines: range
    mentions: frozenset[str]
    recorded: bool


def _state(repository: Path) -> str:
    """Of all sources and tests."""
    digest = hashlib.sha256()
    for path in sorted(
        [*(repository / "src").rglob("*.py"), *(repository / "tests").rglob("*.py")]
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_recorded(folder: Path, repository: Path) -> bool:
    """Whether a folder has the recording of just these sources and tests."""
    state = folder / "recorded"
    return state.is_file() and state.read_text() == _state(repository)


def record(python: str, copy: Path, folder: Path, environment: dict[str, str]) -> None:
    """Run the tests once; what each ran is in `lines.json` and `seconds.xml` of a folder."""
    (folder / "recorded").unlink(missing_ok=True)
    command = [
        *(python, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-m", "not slow"),
        *(f"--cov={PACKAGE}", "--cov-context=test", "--cov-report=", "-p", "no:cacheprovider"),
        *(f"--junitxml={folder / 'seconds.xml'}", *(f"tests/{part}" for part in FOLLOWED)),
    ]
    done = subprocess.run(command, cwd=copy, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit("error: the tests fail as they are; mend them first")
    whole = folder / "coverage.json"
    command = [python, "-m", "coverage", "json", "--show-contexts", "-q", "-o", str(whole)]
    subprocess.run(command, cwd=copy, env=environment, check=True)
    keep_lines(whole, folder / "lines.json")
    (folder / "recorded").write_text(_state(copy))


def keep_lines(whole: Path, kept: Path) -> None:
    """Of coverage's report, which is large: the tests by number, and the numbers of each line."""
    numbers: dict[str, int] = {}
    lines: dict[str, dict[str, list[int]]] = {}
    for file, each in json.loads(whole.read_text())["files"].items():
        of_file = lines[file] = {}
        for line, contexts in each["contexts"].items():
            tests = {context.rpartition("|")[0] for context in contexts if context}
            if tests:
                of_file[line] = sorted(numbers.setdefault(test, len(numbers)) for test in tests)
    kept.write_text(json.dumps({"tests": list(numbers), "lines": lines}))
    whole.unlink()


class Covering:
    """What a recording says."""

    def __init__(self, folder: Path, repository: Path) -> None:
        """Read it.

        Args:
            folder: where `record` has written.
            repository: with the sources that were recorded.
        """
        self.repository = repository
        told = json.loads((folder / "lines.json").read_text())
        self.lines = {
            file: {int(line): {told["tests"][each] for each in tests} for line, tests in of.items()}
            for file, of in told["lines"].items()
        }
        self.seconds: dict[str, float] = {}
        for case in ElementTree.parse(folder / "seconds.xml").iter("testcase"):
            test = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
            self.seconds[test] = float(case.attrib["time"])
        self.tests_of_file: dict[str, list[str]] = defaultdict(list)
        for test in self.seconds:
            self.tests_of_file[test.partition("::")[0]].append(test)
        self.named = list(_named_parts(repository))

    def tests(self, file: str, line: int) -> set[str]:
        """Those that run a line."""
        direct = self.lines.get(file, {}).get(line)
        if direct:
            return direct
        here = [each for each in self.named if each.file == file and line in each.lines]
        wanted = {each.name for each in here if not each.recorded}
        return set().union(*(self._of_name(name) for name in wanted))

    @cache  # noqa: B019 (one object lives as long as the program)
    def _of_name(self, name: str) -> set[str]:
        """Those that run what mentions a name, or mentions what mentions it."""
        found: set[str] = set()
        seen, waiting = {name}, [name]
        while waiting:
            asked = waiting.pop()
            for each in self.named:
                if asked not in each.mentions or each.name in seen:
                    continue
                lines = self.lines.get(each.file, {})
                run = set().union(*(lines.get(line, ()) for line in each.lines))
                found |= run
                if not run:
                    seen.add(each.name)
                    waiting.append(each.name)
        return found


def _named_parts(repository: Path) -> list[Named]:
    found = []
    for path in sorted((repository / PACKAGE).rglob("*.py")):
        file = str(path.relative_to(repository))
        for node in ast.parse(path.read_text()).body:
            inner = node.body if isinstance(node, ast.ClassDef) else [node]
            for part in inner:
                mentions = frozenset(
                    each.id if isinstance(each, ast.Name) else each.attr
                    for each in ast.walk(part)
                    if isinstance(each, ast.Name | ast.Attribute)
                )
                lines = range(part.lineno, (part.end_lineno or part.lineno) + 1)
                names = (
                    [part.name]
                    if isinstance(part, ast.FunctionDef)
                    else [each.id for each in ast.walk(part) if _is_set(each)]
                )
                # What is compiled is not recorded, and neither is what a module does at its import.
                recorded = isinstance(part, ast.FunctionDef) and not any(
                    "njit" in ast.unparse(each) for each in part.decorator_list
                )
                found += [Named(file, name, lines, mentions - {name}, recorded) for name in names]
    return found


def _is_set(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
