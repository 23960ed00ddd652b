"""An embedding lookup against a dense layer on one-hot vectors, which gives the same."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

BATCH, FACTORS = 512, 50
TABLES = (1_682, 9_066, 100_000)
STEPS = 5


def run(repeats: int) -> dict[str, float]:
    """Forward and backward of a batch, both ways in turn.

    Args:
        repeats: pairs of measurements, of which medians are taken.

    Returns:
        For each size of the table the milliseconds of a step either way, the ratio
        `.../lookup_over_one_hot` (below 1: the lookup is faster) and the bytes of the input.
    """
    result: dict[str, float] = {}
    for items in TABLES:
        table = nn.Embedding(items, FACTORS)
        dense = nn.Linear(items, FACTORS, bias=False)
        rows = torch.randint(items, (BATCH,))

        def lookup(table: nn.Embedding = table, rows: Tensor = rows) -> Tensor:
            return table(rows)  # type: ignore[no-any-return]

        def one_hot(dense: nn.Linear = dense, rows: Tensor = rows, items: int = items) -> Tensor:
            return dense(nn.functional.one_hot(rows, items).float())  # type: ignore[no-any-return]

        lookup_ms, one_hot_ms = [], []
        for _ in range(repeats):
            lookup_ms.append(_milliseconds(lookup))
            one_hot_ms.append(_milliseconds(one_hot))
        name = f"one_hot/{items}_items"
        result[f"{name}/lookup_ms"] = statistics.median(lookup_ms)
        result[f"{name}/one_hot_ms"] = statistics.median(one_hot_ms)
        result[f"{name}/lookup_over_one_hot"] = statistics.median(
            fast / slow for fast, slow in zip(lookup_ms, one_hot_ms, strict=True)
        )
        result[f"{name}/lookup_input_bytes"] = 8.0 * BATCH
        result[f"{name}/one_hot_input_bytes"] = 4.0 * BATCH * items
    return result


def _milliseconds(step: Callable[[], Tensor]) -> float:
    _step(step)
    start = time.perf_counter()
    for _ in range(STEPS):
        _step(step)
    return (time.perf_counter() - start) / STEPS * 1000


def _step(forward: Callable[[], Tensor]) -> None:
    torch.autograd.backward(forward().square().sum())
