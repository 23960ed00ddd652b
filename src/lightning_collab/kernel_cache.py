"""Compiled kernels that are kept, and made anew when any source of this package has changed.

Numba itself goes by the file of the outermost function alone.
"""

import hashlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from platformdirs import user_cache_path

from lightning_collab.compat import keep_compiled_code

log = logging.getLogger(__name__)
config: Any = numba.config

PACKAGE = Path(__file__).parent
# One for each version of the package.
KEPT_FOLDERS = 6
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
            folder = _folder()
            if folder is not None and not keep_compiled_code(compiled, folder):
                log.info("%s is compiled at each start", function.__qualname__)
        return compiled

    return decorate


def cache_root() -> Path:
    """A folder in $NUMBA_CACHE_DIR, else in the user's cache folder."""
    chosen = config.CACHE_DIR
    base = (
        Path(chosen).expanduser() / PACKAGE.name if chosen else user_cache_path("lightning-collab")
    )
    return base / "kernels"


def source_digest() -> str:
    """A sum of numba's version and of all source text that kernels can include.

    That of the whole package: reading it takes some milliseconds, and following what each kernel
    includes would take as long.
    """
    sources = sorted(PACKAGE.rglob("*.py"))
    if not sources:
        raise FileNotFoundError(f"no sources in {PACKAGE}")
    # Two versions of numba would write over each other's code.
    digest = hashlib.sha256(f"numba {numba.__version__}\n".encode())
    for path in sources:
        text = path.read_bytes()
        digest.update(f"{path.relative_to(PACKAGE)} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:32]


@cache
def _folder() -> Path | None:
    """Where kernels are kept; None where they cannot be, which is said."""
    root = cache_root()
    try:
        folder = root / source_digest()
        _make_private(root)
        if not folder.is_dir():
            _remove_unused(root)
            folder.mkdir(exist_ok=True)
        os.utime(folder)  # in use
    except OSError as error:
        log.warning(
            "kernels are compiled at each start, since %s cannot keep them (%s)", root, error
        )
        return None
    return folder


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
