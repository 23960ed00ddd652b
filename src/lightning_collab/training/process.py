"""What all threads of a process share, changed while a run lasts and put back afterwards."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Any

import torch

from lightning_collab.models import random_numbers


class SharedContext:
    """A context of the whole process: the first thread enters it, the last one leaves it.

    Args:
        make: the context.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._users = 0
        self._entered = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._entered.enter_context(self._make())
            self._users += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._entered.close()


class _TorchThreads:
    """Puts back the number of torch's threads, which torch keeps for each thread of Python."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 1

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._before = torch.get_num_threads()
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            torch.set_num_threads(self._before)


torch_threads_put_back = _TorchThreads()


@contextmanager
def random_numbers_put_back() -> Iterator[None]:
    """Torch's random numbers go on afterwards as if nothing had been drawn."""
    cuda: Any = torch.cuda
    devices = list(range(cuda.device_count())) if cuda.is_initialized() else []
    fork = torch.random.fork_rng(devices=devices)
    # Another thread may be drawing from them.
    with random_numbers:
        fork.__enter__()
    try:
        yield
    finally:
        with random_numbers:
            fork.__exit__(None, None, None)


@contextmanager
def signals_put_back() -> Iterator[None]:
    """Ctrl-C does afterwards what it did before, though Lightning has answered one meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        # Python tells the main thread alone.
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # not one of Python's
                signal.signal(number, handler)
