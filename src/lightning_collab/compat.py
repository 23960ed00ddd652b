"""Private attributes of other packages, all in one place, with the versions they were checked on.

Each function takes the object, so that nothing heavy is imported here.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_one_at_a_time = threading.Lock()
_one_composer = threading.Lock()


@contextmanager
def hydra_composer(folder: str | None) -> Iterator[Any]:
    """Hydra's config loader over a folder, without the `GlobalHydra` that `hydra.compose` needs.

    Checked on hydra-core 1.3.2 and 1.3.8. Inside: `ConfigLoaderImpl` and
    `create_config_search_path`; `VersionBase`, the rules of which version hold in the process,
    which is put back, since a program around us may go by others.

    Args:
        folder: of the config groups; None: those in Hydra's config store alone.

    Yields:
        A `hydra.core.config_loader.ConfigLoader`, for one thread at a time.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.utils import setup_globals
    from hydra.version import VersionBase, setbase
    from omegaconf import OmegaConf

    with _one_composer:
        rules: Any = VersionBase.instance()
        before = rules.version_base
        setbase("1.3")
        try:
            if not OmegaConf.has_resolver("hydra"):
                setup_globals()
            yield ConfigLoaderImpl(create_config_search_path(folder))
        finally:
            rules.version_base = before


def keep_compiled_code(dispatcher: Any, folder: Path, compiles: Callable[[], None]) -> bool:
    """Let a function of numba keep its compiled code in a folder; False where numba cannot.

    Checked on numba 0.63.1 and 0.68.1. Inside: `Dispatcher.enable_caching`, which is what
    `cache=True` calls and which reads `numba.config.CACHE_DIR` once; `Dispatcher._cache`, so that
    a disk that is full or code that is damaged costs a compilation and not a run.

    Args:
        dispatcher: what `njit` returned, without `cache=True`.
        folder: exists and can be written.
        compiles: called before code that is not there yet is compiled.
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
    dispatcher._cache = _ForgivingCache(dispatcher._cache, compiles)
    return True


class _ForgivingCache:
    """A cache of numba whose failures are no failures of the function."""

    def __init__(self, cache: Any, compiles: Callable[[], None]) -> None:
        self._cache = cache
        self._compiles = compiles

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *arguments: Any) -> Any:
        code = None
        try:
            code = self._cache.load_overload(*arguments)
        except Exception as error:  # what damaged bytes can raise has no end
            log.warning("compiled code in %s is damaged (%r)", self._cache.cache_path, error)
            self._try(self._cache.flush)
        if code is None:
            self._compiles()
        return code

    def save_overload(self, *arguments: Any) -> None:
        self._try(self._cache.save_overload, *arguments)

    def _try(self, action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except OSError as error:
            log.warning("compiled code is not kept in %s (%s)", self._cache.cache_path, error)


def whole_checkpoint(trainer: Any) -> dict[str, Any]:
    """What `trainer.save_checkpoint` would write, without its barrier between ranks.

    Checked on pytorch-lightning 2.6.6. Inside: `Trainer._checkpoint_connector`.
    """
    content: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    return content


def stop_observing(processes: list[Any]) -> None:
    """Tell the thread of Lightning that observes these processes that none is left to observe.

    Checked on pytorch-lightning 2.6.6. Inside: `_ChildProcessObserver._child_processes`.
    """
    for thread in threading.enumerate():
        observer: Any = thread
        if getattr(observer, "_child_processes", None) is processes:
            observer._child_processes = []


def detects_anomalies(trainer: Any) -> bool:
    """Whether a trainer looks for NaN in each backward pass.

    Checked on pytorch-lightning 2.6.6. Inside: `Trainer._detect_anomaly`.
    """
    return bool(trainer._detect_anomaly)


def saves_every_n_steps(checkpoint_callback: Any) -> bool:
    """Whether a ModelCheckpoint counts steps.

    Checked on pytorch-lightning 2.6.6. Inside: `ModelCheckpoint._every_n_train_steps`.
    """
    return bool(checkpoint_callback._every_n_train_steps)


def loader_position(checkpoint: dict[str, Any]) -> dict[str, int] | None:
    """Where the training loader stood when a checkpoint of Lightning was written.

    Checked on pytorch-lightning 2.6.6. Inside: the key under which `_FitLoop` keeps the states of
    loaders that have one.
    """
    states = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader")
    return states[0] if states else None


def use_all_ranks(strategy: Any, ranks: int) -> None:
    """Give a ModelParallelStrategy that was made for `auto` ranks their number.

    Checked on pytorch-lightning 2.6.6, which takes those of one machine. Inside:
    `ModelParallelStrategy._tensor_parallel_size`.
    """
    if strategy._tensor_parallel_size == "auto":
        strategy._tensor_parallel_size = ranks


def all_norms(tensors: Any) -> Any:
    """The norm of each of some tensors, at least one, in one operation.

    Checked on torch 2.13. Inside: `torch._foreach_norm`.
    """
    import torch

    return torch._foreach_norm(tensors)


def all_scaled(tensors: Any, by: Any) -> Any:
    """Each of some tensors times a number or tensor of its own, in one operation.

    Checked on torch 2.13. Inside: `torch._foreach_mul`.
    """
    import torch

    return torch._foreach_mul(tensors, by)


def compiler_error() -> type[Exception]:
    """What `torch.compile` raises where it cannot compile.

    Checked on torch 2.11.0 and 2.13.0. Inside: `torch._dynamo`.
    """
    import torch

    error: type[Exception] = torch._dynamo.exc.TorchDynamoException
    return error
