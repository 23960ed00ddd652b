"""What is used of other packages' insides, in one place, with the versions it was checked on."""

import logging
import threading
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_one_at_a_time = threading.Lock()


def keep_compiled_code(dispatcher: Any, folder: Path) -> bool:
    """Let a function of numba keep its compiled code in a folder; False where numba cannot.

    Checked on numba 0.63.1 and 0.68.1. Inside: `Dispatcher.enable_caching`, which is what
    `cache=True` calls and which reads `numba.config.CACHE_DIR` once; `Dispatcher._cache`, so that
    a disk that is full or code that is damaged costs a compilation and not a run.

    Args:
        dispatcher: what `njit` returned, without `cache=True`.
        folder: exists and can be written.
    """
    import numba

    config: Any = numba.config

    # The setting is everybody's in this process: put back before anybody's function asks for it.
    with _one_at_a_time:
        before = config.CACHE_DIR
        config.CACHE_DIR = str(folder)
        try:
            dispatcher.enable_caching()
        except RuntimeError:  # numba knows no place
            return False
        finally:
            config.CACHE_DIR = before
    if not Path(dispatcher.stats.cache_path).is_relative_to(folder):
        # Beside the source, where numba goes by that file alone.
        dispatcher._cache.disable()
        return False
    dispatcher._cache = _ForgivingCache(dispatcher._cache)
    return True


class _ForgivingCache:
    """A cache of numba whose failures are no failures of the function."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *arguments: Any) -> Any:
        try:
            return self._cache.load_overload(*arguments)
        except Exception as error:  # what damaged bytes can raise has no end
            log.warning("compiled code in %s is damaged (%r)", self._cache.cache_path, error)
            self._try(self._cache.flush)
            return None

    def save_overload(self, *arguments: Any) -> None:
        self._try(self._cache.save_overload, *arguments)

    def _try(self, action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except OSError as error:
            log.warning("compiled code is not kept in %s (%s)", self._cache.cache_path, error)
