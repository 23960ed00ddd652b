"""How many bytes a second the processor can move, measured by copying."""

import time

import numpy as np

# More than any cache holds.
MEMORY_BYTES = 1 << 28


def bytes_per_second(size: int, repeats: int = 5) -> float:
    """The fastest of some copies; what is read and what is written both count.

    Args:
        size: bytes that are copied; small ones stay in a cache, and are copied often.
        repeats: how many times the clock is read.
    """
    source = np.ones(size // 8)
    target = np.empty_like(source)
    copies = max(1, MEMORY_BYTES // size)
    fastest = float("inf")
    for _ in range(repeats + 1):
        started = time.perf_counter()
        for _ in range(copies):
            np.copyto(target, source)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * source.nbytes * copies / fastest


def bytes_per_rating(factors: int) -> int:
    """What a step of plain SGD on one rating reads and writes, in single precision.

    Args:
        factors: length of the embeddings.

    Returns:
        Both rows with their biases, read and written; and the user, the item, the rating and the
        schedule's factor read, the squared error written.
    """
    rows = 2 * 2 * (factors + 1) * 4
    return rows + 4 + 4 + 4 + 8 + 8
