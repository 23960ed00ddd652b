"""Small changes of the source that a test should notice; run by `make mutants`.

    make mutants MUTANTS="--count 400 --seed 19"

draws so many changes of the modules in `PARTS` by the seed, makes each in a copy of the repository,
and runs the tests that run the changed line, the nearest first, until one fails. Which these are is
recorded first, where sources or tests have changed since. Results are kept in outputs/mutants, so
that what was tried is not tried again, but for what survived where `--again` asks for it;
`--changed main` draws among files that differ from a revision.
cosmic-ray makes the changes, in an environment of its own.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from covering import PACKAGE, Covering, is_recorded, record

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = (
    *("models", "losses", "metrics", "data/splits", "data/draws.py", "data/metadata.py"),
    *("training/fused", "training/solvers", "training/modules", "training/schedules.py"),
    *("training/averaging.py", "training/optimizers.py", "training/engine.py"),
)
# Of some 200 those whose change a reader would call a slip.
OPERATORS = (
    *("AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd", "NumberReplacer", "ZeroIterationForLoop"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceBreakWithContinue"),
    *("ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Sub_Add"),
    *("ReplaceBinaryOperator_Mul_Div", "ReplaceBinaryOperator_Div_Mul"),
    *("ReplaceBinaryOperator_Pow_Mul", "ReplaceBinaryOperator_FloorDiv_Div"),
    *("ReplaceBinaryOperator_Mod_Mul", "ReplaceUnaryOperator_Delete_USub"),
    *("ReplaceComparisonOperator_Lt_LtE", "ReplaceComparisonOperator_LtE_Lt"),
    *("ReplaceComparisonOperator_Gt_GtE", "ReplaceComparisonOperator_GtE_Gt"),
    *("ReplaceComparisonOperator_Eq_NotEq", "ReplaceComparisonOperator_NotEq_Eq"),
    *("ReplaceComparisonOperator_Lt_Gt", "ReplaceComparisonOperator_Gt_Lt"),
)
SURVIVED = ("survived", "survived: no test runs it")
# Of the tests that run the changed line, as many as take so long.
MOST_SECONDS_OF_TESTS = 120.0


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        file: of the source, below the repository.
        operator: of cosmic-ray.
        occurrence: which of the places in the file that the operator can change.
        line: where it is.
    """

    file: str
    operator: str
    occurrence: int
    line: int

    @property
    def name(self) -> str:
        """Of its result, which is that of this source alone."""
        digest = hashlib.sha256((REPOSITORY / self.file).read_bytes()).hexdigest()[:8]
        return f"{self.file}:{self.line} {self.operator} {self.occurrence} of {digest}"

    def source(self) -> str:
        """The changed module."""
        code = (REPOSITORY / self.file).read_text()
        changed = mutate_code(code, get_operator(f"core/{self.operator}")(), self.occurrence)
        assert changed is not None
        return str(changed)

    def tests(self, covering: Covering) -> list[str]:
        """What to run of the tests that run the line: the module's, its folder's, the others."""
        within = Path(self.file).relative_to(PACKAGE)
        own = str(Path("tests") / within.parent / f"test_{within.name}")
        found = covering.tests(self.file, self.line) | {*covering.tests_of_file.get(own, ())}

        # One of each file after the other, so that where many tests run the line, all kinds do.
        turn: dict[str, int] = {}
        by_file: Counter[str] = Counter()
        for test in sorted(found, key=lambda each: covering.seconds.get(each, 0.0)):
            file = test.partition("::")[0]
            turn[test] = by_file[file]
            by_file[file] += 1

        def nearness(test: str) -> tuple[bool, bool, int]:
            near = test.startswith(f"{own}::"), test.startswith(f"{Path(own).parent}/")
            return not near[0], not near[1], turn[test]

        chosen, spent = [], 0.0
        for test in sorted(found, key=nearness):
            spent += covering.seconds.get(test, 0.0)
            if spent > MOST_SECONDS_OF_TESTS and chosen:
                break
            chosen.append(test)
        return chosen


def candidates(files: list[Path]) -> Iterator[Mutant]:
    """All changes of some files."""
    for path in files:
        lines = path.read_text().splitlines()
        tree = get_ast(path.read_text())
        for name in OPERATORS:
            operator = get_operator(f"core/{name}")()
            places = [
                start[0]
                for node in ast_nodes(tree)
                for start, _ in operator.mutation_positions(node)
            ]
            for occurrence, line in enumerate(places):
                # Whether a dataclass is frozen is a promise to its readers.
                if lines[line - 1].startswith("@dataclass"):
                    continue
                yield Mutant(str(path.relative_to(REPOSITORY)), name, occurrence, line)


def files_of(changed: str | None) -> list[Path]:
    """The modules that are changed, in a fixed order."""
    found = []
    for part in PARTS:
        path = REPOSITORY / PACKAGE / part
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.is_file() else []
    if changed is None:
        return found
    told = ["git", "-C", str(REPOSITORY), "diff", "--name-only", changed]
    names = subprocess.run(told, capture_output=True, text=True, check=True).stdout.split()
    return [path for path in found if str(path.relative_to(REPOSITORY)) in names]


class Worker:
    """A copy of the repository, and a process whose forks run its tests."""

    def __init__(self, copy: Path, python: str) -> None:
        """Copy, and start the process."""
        self.copy = copy
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(copy)], check=True)
        # What is not committed is tried as it is.
        for folder in ("src", "tests"):
            shutil.rmtree(copy / folder)
            shutil.copytree(REPOSITORY / folder, copy / folder)
        self.environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [python, "tests/support/pytest_forks.py"],
            cwd=copy,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tried(self, mutant: Mutant, covering: Covering) -> str:
        """Whether a test notices the change: `killed by <test>`, or `survived`."""
        tests = mutant.tests(covering)
        if not tests:
            return SURVIVED[1]
        target = self.copy / mutant.file
        whole = target.read_text()
        try:
            target.write_text(mutant.source())
            arguments = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests]
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(json.dumps(arguments) + "\n")
            self.process.stdin.flush()
            code, failed = json.loads(self.process.stdout.readline())
        finally:
            target.write_text(whole)
        if code is None:
            return "killed by taking too long"
        return SURVIVED[0] if code in (0, 5) else f"killed by {failed or f'exit status {code}'}"


def try_all(
    waiting: list[Mutant], results: dict[str, str], results_file: Path, python: str, jobs: int
) -> None:
    """Each of some mutants; results are kept one by one."""
    folder = results_file.parent
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(jobs) as pool:
        workers = [Worker(Path(place) / str(number), python) for number in range(jobs)]
        if not is_recorded(folder, REPOSITORY):
            print("Running the tests once, to see which lines each runs ...", flush=True)
            record(python, workers[0].copy, folder, workers[0].environment)
        covering = Covering(folder, workers[0].copy)
        free: Queue[Worker] = Queue()
        for worker in workers:
            free.put(worker)

        def one(number: int, mutant: Mutant) -> None:
            worker = free.get()
            try:
                results[mutant.name] = worker.tried(mutant, covering)
            finally:
                free.put(worker)
            said = f"{mutant.name}: {results[mutant.name]}"
            print(f"{number}/{len(waiting)}  {said}", flush=True)
            results_file.write_text(json.dumps(dict(sorted(results.items())), indent=1))

        list(pool.map(one, range(1, len(waiting) + 1), waiting))
        for worker in workers:
            worker.process.terminate()


def main() -> None:
    """Draw, try and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="with the package's tests installed")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--changed", metavar="REVISION", help="only files that differ from it")
    parser.add_argument("--again", action="store_true", help="try what survived once more")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    everything = list(candidates(files_of(asked.changed)))
    if not everything:
        print(f"None of the files in question differs from {asked.changed}.")
        return
    drawn = random.Random(asked.seed).sample(everything, min(asked.count, len(everything)))
    folder = REPOSITORY / "outputs" / "mutants"
    folder.mkdir(parents=True, exist_ok=True)
    results_file = folder / f"seed-{asked.seed}.json"
    results: dict[str, str] = {}
    if results_file.is_file():
        results = json.loads(results_file.read_text())
    done = {name for name, said in results.items() if not (asked.again and said in SURVIVED)}
    waiting = [mutant for mutant in drawn if mutant.name not in done]
    if waiting:
        try_all(waiting, results, results_file, str(Path(asked.python).absolute()), asked.jobs)
    survived = [each.name for each in drawn if results[each.name] in SURVIVED]
    print(f"{len(drawn) - len(survived)} of {len(drawn)} killed; survived:", *survived, sep="\n  ")


if __name__ == "__main__":
    main()
