"""Which part of the package may import which: downwards in one list, and no circles."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support import REPOSITORY

SOURCE = REPOSITORY / "src"
PACKAGE = "lightning_collab"

LAYERS = (
    ("errors", "compat"),
    ("kernel_cache",),
    ("config",),
    ("runs",),
    ("data",),
    ("models",),
    ("losses",),
    ("metrics",),
    ("training",),
    ("tuning", "inference", "inspection"),
    ("api",),
    ("demo",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
"""From the bottom. Parts of one layer stand side by side: none imports another."""

FACE = PACKAGE
"""The package itself gives lazily what is public, from anywhere."""

LATE = {
    # What --help and the check of a config do without.
    "cli": ["commands.entry", "commands.help", "tuning.sweep"],
    "commands.entry": ["training.parts"],  # torch
    "commands.report": ["tuning.report"],  # Optuna
    "api.training": ["inspection.while_training"],  # matplotlib
    # Lightning and matplotlib, which predictions and recommendations do without
    "api.trained_run": ["api.again"],
    "api.asked_run": ["inspection.neighbors"],
    "api.shown_run": [
        *("inspection.embedding_map", "inspection.figures", "inspection.layout"),
        "inference.export_run",
    ],
    # pydantic, in every program that uses Hydra
    "runs.invocation": ["config.registry"],
    # What looks at models of others alone.
    "models": ["models.contract"],
    # numba, with kernels that a run may do without
    "training.build": ["training.modules.bayesian_module"],
    "training.modules.rating_module": [
        *("training.fused.blocks", "training.fused.fused_optimizer", "training.fused.net_kernel"),
        "training.fused.ranking_optimizer",
    ],
    "training.modules.solver_modules": ["training.solvers.implicit_least_squares"],
    "inspection.predictions": ["models.scoring_kernels"],
    "tuning.batched": ["training.fused.blocks"],
    "data.batches": ["data.orders"],
    "data.choice_batches": ["data.draws", "data.orders"],
    "data.feed": ["data.draws", "data.orders"],
    "data.sources": ["data.mapping"],
    "models.item_scores": ["models.scoring_kernels"],
    "metrics.rankings": ["models.scoring_kernels"],
    "inference.recommendation": ["models.scoring_kernels"],
}
"""Imports inside functions, each for start-up time: module -> what it imports there."""


class Import(NamedTuple):
    """An import of one module of ours by another; `late`: inside a function."""

    by: str
    of: str
    late: bool


def modules() -> dict[str, Path]:
    found = {}
    for path in (SOURCE / PACKAGE).rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(module: str) -> Iterator[Import]:
    """Everywhere in the file: at the top, inside functions, and for type checking."""
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(MODULES[module].read_text()), False)]
    while waiting:
        node, late = waiting.pop()
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports have whole names here"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in whole]
        for name in names:
            if name in MODULES and name != module:
                yield Import(module, name, late)
        inside = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        waiting += [(child, inside) for child in ast.iter_child_nodes(node)]


IMPORTS = [each for module in MODULES for each in imports_of(module)]


def part(module: str) -> str:
    return module.removeprefix(f"{PACKAGE}.").split(".")[0]


def height(name: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if name in layer)


def test_every_part_has_its_place_in_the_list():
    parts = {part(module) for module in MODULES if module != FACE}
    assert parts == {name for layer in LAYERS for name in layer}


def test_imports_go_downwards():
    wrong = [
        f"{by} imports {of}"
        for by, of, _ in IMPORTS
        if FACE not in (by, of) and part(by) != part(of) and height(part(by)) <= height(part(of))
    ]
    assert wrong == []


def test_there_is_no_circle_of_imports():
    above: dict[str, set[str]] = {module: set() for module in MODULES}
    for by, of, _ in IMPORTS:
        above[by].add(of)
    # What imports nothing that is left cannot be in a circle; neither can what is then left bare.
    while bare := {module for module, imported in above.items() if not imported}:
        above = {m: imported - bare for m, imported in above.items() if m not in bare}
    assert sorted(above) == []


def test_imports_inside_functions_are_those_of_the_list():
    late = {(each.by, each.of) for each in IMPORTS if each.late and each.by != FACE}
    listed = {
        (f"{PACKAGE}.{by}", f"{PACKAGE}.{of}") for by, imported in LATE.items() for of in imported
    }
    assert late == listed


def test_nothing_of_the_package_needs_the_measurements():
    for path in (*MODULES.values(), *(SOURCE / "hydra_plugins").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert str(node.module).split(".")[0] != "benchmarks", path
            if isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] != "benchmarks" for alias in node.names), path


def test_a_module_says_what_it_is_for():
    silent = [
        m for m, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
