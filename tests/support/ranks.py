"""Run a function on several ranks at once, from a test."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

# One process imports torch and Lightning once; the ranks of all tests are forks of it.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["lightning_collab.training.run", "torch.distributed.tensor"])


class RankFailedError(AssertionError):
    """A rank raised; the message has its traceback."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def on_ranks(function: Callable[..., Any], *arguments: Any, ranks: int = 2) -> list[Any]:
    """What a function of `rank_cases` returns on each rank.

    The environment is that of ranks which Lightning has started on one machine.
    """
    port = free_port()
    pipes, processes = [], []
    for rank in range(ranks):
        mine, theirs = _context.Pipe()
        process = _context.Process(
            target=_run, args=(theirs, rank, ranks, port, function, arguments), daemon=True
        )
        process.start()
        theirs.close()
        pipes.append(mine)
        processes.append(process)
    try:
        results = []
        for rank, pipe in enumerate(pipes):
            if not pipe.poll(120):
                raise RankFailedError(f"rank {rank} does not end")
            try:
                good, result = pipe.recv()
            except EOFError:
                raise RankFailedError(f"rank {rank} is gone") from None
            if not good:
                raise RankFailedError(f"rank {rank}\n{result}")
            results.append(result)
    finally:
        for process in processes:
            process.kill()
            process.join()
    return results


def _run(
    pipe: Any, rank: int, ranks: int, port: int, function: Callable[..., Any], arguments: tuple
) -> None:
    os.environ |= {
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        pipe.send((True, function(*arguments)))
    except BaseException:
        pipe.send((False, traceback.format_exc()))
