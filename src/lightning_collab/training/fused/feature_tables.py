"""The rows of features and of periods of a model, as the kernel takes them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_collab.models import RatingModel
from lightning_collab.models.embedding_table import PeriodEffect
from lightning_collab.training.fused.batch_rows import Table
from lightning_collab.training.fused.mapped_rows import Mapped

Array = NDArray[Any]
# From a parameter to its memory and that of what the optimizer remembers of it.
TableOf = Callable[[Tensor], Table]


class Features(NamedTuple):
    """The features of users or of items, for batches of one size.

    Attributes:
        mapped: what the kernel reads and writes.
        used: features that a batch has at most.
        width: features there are.
    """

    mapped: Mapped
    used: int
    width: int

    @classmethod
    def of(cls, model: RatingModel, side: str, places: int) -> "Features":
        """Of one side; without any entries where it has no features.

        Args:
            model: whose features they are.
            side: `users` or `items`.
            places: rows of the side that a batch has at most.
        """
        own = model.lookup_tables()["embeddings"][side].weight.detach().numpy()
        kind, features = own.dtype, model.features().get(side)
        if features is None:
            indptr = np.zeros(len(own) + 1, np.int64)
            indices, values = np.zeros(0, np.int32), np.zeros(0, kind)
            width = 0
        else:
            matrix = features.matrix()
            indptr = matrix.indptr.astype(np.int64, copy=False)
            indices = matrix.indices.astype(np.int32, copy=False)
            values = matrix.data.astype(kind, copy=False)
            width = features.width
        entries = int(np.sort(np.diff(indptr))[-places:].sum())
        used = min(width, entries)
        mapped = Mapped(
            indptr=indptr,
            indices=indices,
            values=values,
            factors=np.zeros((places, own.shape[1]), kind),
            bias=np.zeros((places, 1), kind),
            places=np.zeros(entries, np.int32),
            uses=np.zeros(entries, kind),
        )
        return cls(mapped, used, width)

    def tables(self, model: RatingModel, side: str, table_of: TableOf) -> tuple[Table, Table]:
        """Factors and biases of the features.

        Args:
            model: whose features they are.
            side: `users` or `items`.
            table_of: of a parameter.
        """
        mappings, own = model.mapping_tables(), model.lookup_tables()

        def of_group(group: str) -> Table:
            if self.width:
                return table_of(mappings[group][side].weight)
            return Table(*(array[:0] for array in table_of(own[group][side].weight)))

        return of_group("embeddings"), of_group("biases")


class Periods(NamedTuple):
    """All effects of time as one table, in which row 0 is that of unknown periods.

    Attributes:
        bias: the effects one after the other, each without its own unknown row.
        parts: what they are copies of.
    """

    bias: Table
    parts: list[Table]

    @classmethod
    def of(cls, effects: Sequence[PeriodEffect], like: Table, table_of: TableOf) -> "Periods":
        """Of a model's effects.

        Args:
            effects: of time.
            like: a table of biases, in type and in what is remembered.
            table_of: of a parameter.
        """
        parts = [table_of(effect.table.weight) for effect in effects]
        joined = [
            np.concatenate([np.zeros_like(first[:1]), *(array[1:] for array in arrays)])
            for first, *arrays in zip(like, *parts, strict=True)
        ]
        return cls(Table(*joined), parts)

    def give_back(self) -> None:
        """Copy what the steps made of the table to where it came from."""
        start = 1
        for part in self.parts:
            end = start + len(part.weight) - 1
            for joined, array in zip(self.bias, part, strict=True):
                array[1:] = joined[start:end]
            start = end
