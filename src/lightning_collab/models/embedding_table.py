"""Embedding tables as the lecture starts them."""

from torch import nn


def embedding_table(rows: int, width: int, init_range: float) -> nn.Embedding:
    """A table whose entries are drawn uniformly from (-init_range, init_range).

    Args:
        rows: known ids and the unknown row.
        width: length of a row.
        init_range: half the width of the distribution.
    """
    table = nn.Embedding(rows, width)
    nn.init.uniform_(table.weight, -init_range, init_range)
    return table
