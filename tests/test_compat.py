"""Private attributes of other packages: few, in one file, with the versions of their checks."""

import ast
import re
from importlib.metadata import version
from pathlib import Path

from support import REPOSITORY

SOURCE = REPOSITORY / "src" / "lightning_collab"
COMPAT = SOURCE / "compat.py"
MOST = 10

DOCUMENTED = {
    "_exit",  # of os
    "_replace",  # of named tuples
    "_asdict",
    "_fields",
    "_target_",  # a key of Hydra's configs
}
"""Names that look private and are not."""

BY_NAME = ("getattr", "setattr", "hasattr", "delattr")


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def private_uses(path: Path) -> list[str]:
    """Private attributes and modules that a file uses of anything but `self`, `cls` and modules.

    What a class of ours keeps private is private to it too, so that any other object's counts.
    """
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                found.append(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
            found += [name for name in names if private(name)]
        elif isinstance(node, ast.Import):
            found += [n for alias in node.names for n in alias.name.split(".") if private(n)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in BY_NAME:
            name = node.args[1]
            if isinstance(name, ast.Constant) and private(str(name.value)):
                found.append(str(name.value))
    return found


def test_private_attributes_of_others_are_used_in_one_file_alone():
    elsewhere = {
        str(path.relative_to(SOURCE)): uses
        for path in SOURCE.rglob("*.py")
        if path != COMPAT and (uses := private_uses(path))
    }
    assert elsewhere == {}


def test_there_are_few_of_them():
    assert 0 < len(set(private_uses(COMPAT))) <= MOST


def test_each_names_versions_that_it_was_checked_on():
    checked: dict[str, set[str]] = {}
    for node in ast.parse(COMPAT.read_text()).body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        text = " ".join((ast.get_docstring(node) or "").split())
        found = re.search(r"Checked on ([\w-]+) ([\d., and]+)", text)
        assert found, f"{node.name} does not say what it was checked on"
        checked.setdefault(found[1], set()).update(re.findall(r"\d+\.\d+", found[2]))
    for package, versions in checked.items():
        installed = re.match(r"\d+\.\d+", version(package))
        assert installed
        assert installed[0] in versions, f"{package} {version(package)}"
