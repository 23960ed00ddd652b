"""Compiled kernels are those of the source that is there."""

import inspect
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numba
import numpy as np
import pytest

import lightning_collab
from lightning_collab import kernel_cache
from lightning_collab.kernel_cache import included_sources
from lightning_collab.training.solvers.gibbs import conditionals

PACKAGE = Path(lightning_collab.__file__).parent
INNER = """
from lightning_collab.kernel_cache import cached_njit

@cached_njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def inner(number):
    return FACTOR * number
"""
OUTER = """
from lightning_collab.kernel_cache import cached_njit
from lightning_collab.an_inner_file import inner

@cached_njit()
def outer(number):
    return inner(number) + 1
"""
CALL = """
import json, sys
from lightning_collab.an_outer_file import outer
print(json.dumps([outer(3), sum(outer.stats.cache_hits.values())]))
"""
DRAW = """
import json
import numpy as np
from CONDITIONALS import draw_rows
rows, ones = np.zeros((3, 2)), np.ones(3)
of_rows = np.array([0, 0, 1, 2]), np.array([1, 2], np.int32), np.ones(2)
prior = np.zeros((3, 2)), np.eye(2)
draw_rows(rows, np.ones((3, 2)), *of_rows, *prior, ones, ones, 1.0, np.uint64(5))
print(json.dumps([rows.tolist(), sum(draw_rows.stats.cache_hits.values())]))
""".replace("CONDITIONALS", conditionals.__name__)
FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
"""


class Copy:
    """A copy of the package with a cache of its own, and a kernel that is quick to compile."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "src" / "lightning_collab"
        self.cache = folder / "cache"
        self.folder = self.cache / "lightning-collab" / "kernels"
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        self.write(2)
        (self.package / "an_outer_file.py").write_text(OUTER)

    def write(self, factor: int) -> None:
        (self.package / "an_inner_file.py").write_text(INNER.replace("FACTOR", str(factor)))

    def run(self, program: str) -> subprocess.CompletedProcess:
        unset = ("NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT")
        environment = {key: value for key, value in os.environ.items() if key not in unset}
        environment |= {
            "PYTHONPATH": str(self.package.parent),
            "XDG_CACHE_HOME": str(self.cache),
            # Python goes by length and time, which an edit within a second leaves as they were.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            cwd=self.package.parent,
            capture_output=True,
            text=True,
            check=True,
        )

    def answer(self, program: str = CALL) -> list:
        """The number that the kernel gives, and how often its code came from the cache."""
        return json.loads(self.run(program).stdout)

    def kept(self, pattern: str = "*.nb?") -> list[Path]:
        return sorted(self.cache.rglob(pattern)) if self.cache.is_dir() else []


@pytest.fixture
def copy(tmp_path) -> Copy:
    if sys.platform != "linux":
        pytest.skip("the folder is named in Linux's way")
    return Copy(tmp_path)


def test_an_edit_of_an_included_file_counts_and_without_one_nothing_is_compiled(copy):
    assert copy.answer() == [2 * 3 + 1, 0]
    assert copy.answer() == [2 * 3 + 1, 1]
    copy.write(5)
    assert copy.answer() == [5 * 3 + 1, 0]
    copy.write(2)  # an older version in turn with a newer one: both are kept
    assert copy.answer() == [2 * 3 + 1, 1]
    assert not list(copy.package.rglob("*.nb?"))
    assert copy.folder.stat().st_mode & 0o777 == 0o700


def test_compiling_is_said_once_and_only_where_it_is_done(copy):
    program = "import logging; logging.basicConfig(level=logging.INFO)" + CALL
    assert copy.run(program).stderr.count("compiling kernels") == 1
    assert "compiling" not in copy.run(program).stderr


@pytest.mark.slow  # compiles a real kernel twice
def test_an_edit_of_the_random_numbers_changes_gibbs_draws(copy):
    before, hits = copy.answer(DRAW)
    assert hits == 0
    assert copy.answer(DRAW) == [before, 1]
    file = included_sources(conditionals.__name__)[conditionals.__name__].relative_to(PACKAGE)
    text = (copy.package / file).read_text()
    doubled = text.replace("out[k] = radius", "out[k] = 2.0 * radius")
    assert doubled != text
    (copy.package / file).write_text(doubled)
    after, hits = copy.answer(DRAW)
    assert hits == 0
    assert not np.allclose(after, before)


def test_damaged_code_is_compiled_again(copy):
    copy.answer()
    for pattern in ("*.nbi", "*.nbc"):
        for path in copy.kept(pattern):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert copy.answer() == [7, 0]
    assert copy.answer() == [7, 1]


def test_a_full_disk_costs_the_cache_alone(copy):
    done = copy.run(FULL_DISK + CALL)
    assert json.loads(done.stdout) == [7, 0]
    assert "not kept" in done.stderr
    assert not copy.kept()


def test_without_a_folder_to_write_to_kernels_are_compiled(copy):
    copy.cache.write_text("a file where the folder should be")
    done = copy.run(CALL)
    assert json.loads(done.stdout) == [7, 0]
    assert done.stderr.count("kernels are compiled at each start") == 1
    assert not list(copy.package.rglob("*.nb?"))


def test_code_is_not_read_from_where_others_can_write(copy):
    copy.folder.mkdir(parents=True)
    copy.folder.chmod(0o777)
    done = copy.run(CALL)
    assert json.loads(done.stdout) == [7, 0]
    assert "others can write there" in done.stderr
    assert not copy.kept()


def kernel_modules() -> list[str]:
    files = [path for path in PACKAGE.rglob("*.py") if "@cached_njit" in path.read_text()]
    return [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in files]


@pytest.mark.parametrize("name", kernel_modules())
def test_whatever_a_kernel_can_name_is_among_its_sources(name):
    """By what Python has bound to the names, not by the text."""
    origins = {name}
    for value in vars(import_module(name)).values():
        origins.add(getattr(inspect.getmodule(value), "__name__", ""))
    of_package = {each for each in origins if each.startswith("lightning_collab")}
    assert of_package <= included_sources(name).keys()


@pytest.mark.parametrize("name", kernel_modules())
def test_all_that_is_cached_is_cached_by_its_sources(name):
    for value in vars(import_module(name)).values():
        path = getattr(value, "stats", None) and value.stats.cache_path
        assert path is None or Path(path).is_relative_to(kernel_cache.cache_root())


def test_functions_of_the_user_are_cached_where_numba_does(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    text = "import numba\n\n@numba.njit(cache=True)\ndef theirs(number):\n    return number\n"
    (tmp_path / "their_file.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    theirs = import_module("their_file").theirs
    assert Path(theirs.stats.cache_path).parent == tmp_path


@pytest.fixture
def a_module(tmp_path, monkeypatch) -> Callable[[str, str], None]:
    monkeypatch.setattr(kernel_cache, "SOURCES", tmp_path)
    kernel_cache._file.cache_clear()

    def write(name: str, text: str) -> None:
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    yield write
    kernel_cache._file.cache_clear()
    kernel_cache._imported.cache_clear()


def test_every_form_of_import_is_followed(a_module):
    a_module("lightning_collab/top/first", "from . import second\nimport numpy as np\n")
    a_module("lightning_collab/top/second", "from ..third import (\n    one,\n    two,\n)\n")
    a_module("lightning_collab/third", "def f():\n    import lightning_collab.top.fourth as g\n")
    a_module("lightning_collab/top/fourth", "from lightning_collab.top import first, fifth\n")
    a_module("lightning_collab/top/fifth", "from lightning_collab import missing\n")
    a_module("lightning_collab/top/other", "")
    names = [name.rpartition(".")[2] for name in included_sources("lightning_collab.top.first")]
    assert sorted(names) == ["fifth", "first", "fourth", "second", "third"]


def test_only_what_is_old_and_beyond_the_number_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_cache, "KEPT_FOLDERS", 2)
    hours = {"now": 0, "today": 20, "yesterday": 30, "last_week": 170}
    for name, age in hours.items():
        (tmp_path / name).mkdir()
        opened = time.time() - 3600 * age
        os.utime(tmp_path / name, (opened, opened))
    kernel_cache._remove_unused(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"now", "today"}
    monkeypatch.setattr(kernel_cache, "KEPT_FOLDERS", 0)
    kernel_cache._remove_unused(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"now", "today"}
