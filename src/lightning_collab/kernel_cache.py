"""Compiled kernels that are kept, and recompiled when any source that they include has changed.

Numba itself goes by the file of the outermost function alone.
"""

import hashlib
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

import numba
from platformdirs import user_cache_path

from lightning_collab.compat import keep_compiled_code

log = logging.getLogger(__name__)
config: Any = numba.config

PACKAGE = __name__.partition(".")[0]
# The folder that the package is in.
SOURCES = Path(__file__).parents[__name__.count(".")]
WHOLE = re.compile(rf"^[ \t]*import[ \t]+({PACKAGE}[\w.]*)", re.MULTILINE)
# Of `from origin import names`.
PARTS = re.compile(r"^[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)", re.MULTILINE)
# One for each version of each module with kernels: some six versions of the package.
KEPT_FOLDERS = 64
# A folder that was opened so lately is not removed, however many there are.
IN_USE_SECONDS = 24 * 3600


# Sums may be reordered and products fused, so that loops over factors use the CPU's vectors;
# infinities and NaN keep their meaning, since a diverging loss must be seen.
KERNEL: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz"},
    "nogil": True,
}

# For what is called from kernels alone: nothing is compiled for calls from Python.
INNER: dict[str, Any] = {**KERNEL, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Numba's `njit`, keeping the compiled code as long as it is that of the source.

    Args:
        options: of `numba.njit`, without `cache`.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = numba.njit(**options)(function)
        if not config.DISABLE_JIT:
            folder = _folder(function.__module__)
            if folder is not None and not keep_compiled_code(
                compiled, folder, _say_that_it_compiles
            ):
                log.info("%s is compiled at each start", function.__qualname__)
        return compiled

    return decorate


def cache_root() -> Path:
    """A folder in $NUMBA_CACHE_DIR, else in the user's cache folder."""
    chosen = config.CACHE_DIR
    base = Path(chosen).expanduser() / PACKAGE if chosen else user_cache_path("lightning-collab")
    return base / "kernels"


def included_sources(module: str) -> dict[str, Path]:
    """The files of this package that a module imports, at one remove or more, and its own.

    Whatever compiled code includes has been imported by the module it is in: functions of other
    files as well as constants.

    Args:
        module: its full name.

    Returns:
        Files by the names of their modules, in the order of names.
    """
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path is not None and name not in found:
            found[name] = path
            waiting += _imported(name, path)
    return dict(sorted(found.items()))


def source_digest(module: str) -> str:
    """A sum of numba's version and all source text that kernels of a module can include."""
    sources = included_sources(module)
    if module not in sources:
        raise FileNotFoundError(f"no source of {module}")
    # Two versions of numba would write over each other's code.
    digest = hashlib.sha256(f"numba {numba.__version__}\n".encode())
    for name, path in sources.items():
        text = path.read_bytes()
        digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:32]


@cache
def _folder(module: str) -> Path | None:
    """Where kernels of a module are kept; None where none can be."""
    root = cache_root()
    try:
        folder = root / source_digest(module)
        _make_private(root)
        if not folder.is_dir():
            _remove_unused(root)
            folder.mkdir(exist_ok=True)
        os.utime(folder)  # in use
    except OSError as error:
        _tell(root, str(error))
        return None
    return folder


@cache
def _say_that_it_compiles() -> None:
    log.info("compiling kernels, which are kept for later runs; the first steps take longer")


@cache
def _tell(root: Path, error: str) -> None:
    log.warning("kernels are compiled at each start, since %s cannot keep them (%s)", root, error)


def _make_private(root: Path) -> None:
    """Compiled code is run, so it is read only from where nobody else can write."""
    if not root.is_absolute():
        raise OSError("not an absolute path")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = root.stat()
    if sys.platform != "win32" and (about.st_uid != os.geteuid() or about.st_mode & 0o022):
        raise PermissionError("others can write there")


def _remove_unused(root: Path) -> None:
    """All but the folders last opened; a process that has one of the others makes it again."""
    opened = {}
    for folder in root.iterdir():
        try:
            opened[folder] = folder.stat().st_mtime
        except FileNotFoundError:  # another process removes as well
            continue
    latest_first = sorted(opened, key=lambda folder: opened[folder], reverse=True)
    for folder in latest_first[KEPT_FOLDERS:]:
        if opened[folder] < time.time() - IN_USE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


@cache
def _file(module: str) -> Path | None:
    """The source of a module of this package; None for another, or what is no module."""
    parts = module.split(".")
    if parts[0] != PACKAGE:
        return None
    place = SOURCES.joinpath(*parts)
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def _imported(module: str, path: Path) -> tuple[str, ...]:
    """What a module imports: names of modules, and names that may be modules.

    By patterns, since a syntax tree takes ten times as long, at every start.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    text = path.read_text()
    found = re.findall(WHOLE, text)
    for origin, names in re.findall(PARTS, text):
        if origin.startswith((".", PACKAGE)):
            source = resolve_name(origin, package)
            found += [source, *(f"{source}.{name}" for name in re.findall(r"\w+", names))]
    return tuple(found)
