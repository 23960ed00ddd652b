"""A split of others is held to what it promises, before anything is trained."""

from typing import Literal

import numpy as np
import pytest

from lightning_collab.config.split import SplitConfig
from lightning_collab.data.splits import SplitRows, split_rows
from lightning_collab.errors import DataError


def of_others(gives, val=0.0):
    class Own(SplitConfig):
        name: Literal["own"] = "own"

        def split(self, table):
            return gives(table)

    return Own(val=val)


def rows(*parts, dtype=np.int64):
    return SplitRows(*(np.array(part, dtype=dtype) for part in parts))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32])
def test_parts_without_a_row_in_common_are_taken(small_table, dtype):
    found = split_rows(small_table, of_others(lambda table: rows([5, 599], [], [0], dtype=dtype)))
    assert (found.train.tolist(), found.test.tolist()) == ([5, 599], [0])


@pytest.mark.parametrize(
    ("gives", "val", "message"),
    [
        (lambda table: ([0], [], []), 0, r"must return a SplitRows, and gave tuple"),
        (lambda table: SplitRows([0], [], []), 0, r"train must be row numbers, int \[n\], .*\[0\]"),
        (lambda table: rows([0.5], [], [], dtype=float), 0, r"train must be .* float64 \[1\]"),
        (lambda table: rows([[0]], [], []), 0, r"train must be row numbers, .* int64 \[1, 1\]"),
        (lambda table: rows([0], [], [600]), 0, r"test has rows from 600 to 600, .* 0 to 599"),
        (lambda table: rows([-1, 3], [], []), 0, r"train has rows from -1 to 3"),
        (lambda table: rows([0, 1, 2], [], [2, 1]), 0, r"2 rows .* more than once \(first: row 1"),
        (lambda table: rows([4, 4], [], []), 0, r"1 rows are in it more than once"),
        (lambda table: rows([], [], [1]), 0, r"leaves no rating to train on"),
        (lambda table: rows([0], [], [1]), 0.1, r"validation part of 0 rows, and has_val is True"),
        (lambda table: rows([0], [2], []), 0, r"validation part of 1 rows, and has_val is False"),
    ],
)
def test_what_is_no_split_is_named(small_table, gives, val, message):
    with pytest.raises(DataError, match=rf"split=own: Own\.split.*{message}"):
        split_rows(small_table, of_others(gives, val))
