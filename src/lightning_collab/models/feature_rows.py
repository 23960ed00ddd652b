"""Features of users or items inside a model: the tables that map them to rows, and dropout of ids.

Rows of ids are left out in a step, so that features learn to replace them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack, vstack
from torch import Tensor, nn

from lightning_collab.data.features import FeatureBlock, FeatureSet, TimeEffect
from lightning_collab.models.embedding_table import EmbeddingTable

# On a GPU all rows are mapped where they are at most so many times the batch's.
ALL_BELOW = 8
# On a CPU all rows are mapped where they have at most this many times the entries of the batch's.
WHOLE_BELOW = 1.5


class FeatureRows(nn.Module):
    """The feature blocks of one side, side by side, as buffers, so that a checkpoint has them.

    The row of unknown users or items is the mean of the known rows: what is mapped from it is the
    mean of what is mapped from them.

    Args:
        blocks: of one side; their own unknown row is not looked at. Or all rows as they are.
        kept: whether a checkpoint has them.

    Attributes:
        indptr: [rows + 1], where the entries of each row begin (CSR).
        indices: [entries], column of each entry.
        values: float32 [entries].
        width: number of columns.
    """

    indptr: Tensor
    indices: Tensor
    values: Tensor

    def __init__(self, blocks: Sequence[FeatureBlock] | csr_array, *, kept: bool = True) -> None:
        super().__init__()
        whole = blocks
        if not isinstance(whole, csr_array):
            known = csr_array(hstack([block.matrix[1:] for block in whole], format="csr"))
            mean = csr_array(known.mean(axis=0, dtype=np.float64)[None, :])
            whole = vstack([mean, known], format="csr")
        whole = csr_array(whole, dtype=np.float32)
        whole.sort_indices()
        self.register_buffer("indptr", torch.from_numpy(whole.indptr), persistent=kept)
        self.register_buffer("indices", torch.from_numpy(whole.indices), persistent=kept)
        self.register_buffer("values", torch.from_numpy(whole.data), persistent=kept)
        self.register_buffer("width_", torch.tensor(whole.shape[1]), persistent=kept)
        self.width: int = whole.shape[1]
        self._view: tuple[Any, csr_array] | None = None
        self._by_column: Bags | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without views of the buffers, which a copy has elsewhere."""
        return {**self.__dict__, "_view": None, "_by_column": None}

    def matrix(self) -> csr_array:
        """The features as a sparse matrix, [rows, width], without a copy; on the CPU."""
        key = (self.values.data_ptr(), self.values.dtype)
        if self._view is None or self._view[0] != key:
            parts = tuple(each.numpy() for each in (self.values, self.indices, self.indptr))
            shape = (len(self.indptr) - 1, self.width)
            self._view = (key, csr_array(parts, shape=shape, copy=False))
        return self._view[1]

    def append(self, entries: csr_array) -> None:
        """Add rows behind those that are there.

        Args:
            entries: [n, width].
        """
        end = self.indptr[-1:].cpu()
        after = torch.from_numpy(entries.indptr[1:]).to(end) + end
        for name, further in (
            ("indptr", after),
            ("indices", torch.from_numpy(entries.indices)),
            ("values", torch.from_numpy(entries.data)),
        ):
            mine: Tensor = getattr(self, name)
            setattr(self, name, torch.cat([mine, further.to(mine)]))
        self._by_column = None

    def select(self, rows: Tensor) -> "SelectedRows":
        """The features of a batch's users or items.

        Args:
            rows: int [B].
        """
        if self.values.device.type != "cpu":
            if len(self.indptr) <= ALL_BELOW * len(rows):
                return SelectedRows(self, rows)
            return SelectedRows(self.entries_of(rows), torch.arange(len(rows), device=rows.device))
        distinct, position = torch.unique(rows, return_inverse=True)
        whole = self.matrix()
        chosen = distinct.numpy()
        entries = int(np.sum(whole.indptr[chosen + 1] - whole.indptr[chosen], dtype=np.int64))
        if whole.nnz <= WHOLE_BELOW * entries:
            return SelectedRows(whole, rows)
        return SelectedRows(whole[chosen], position)

    def entries_of(self, rows: Tensor) -> "Entries":
        """Those of some rows, copied; on a GPU the host waits to learn how many there are.

        Args:
            rows: int [B].
        """
        begins = self.indptr[rows.long()]
        lengths = self.indptr[rows.long() + 1] - begins
        ends = lengths.cumsum(0)
        count = int(lengths.sum())
        numbers = torch.arange(len(rows), device=rows.device)
        of = numbers.repeat_interleave(lengths, output_size=count)
        place = (begins - ends + lengths)[of] + torch.arange(count, device=rows.device)
        indptr = torch.cat([ends.new_zeros(1), ends]).to(self.indptr)
        return Entries(of, self.indices[place], indptr, self.values[place], self.width)

    def map_all(self, table: Tensor) -> Tensor:
        """What each row of the vocabulary is mapped to.

        Args:
            table: float [width, k].

        Returns:
            float [rows, k].
        """
        mapped: Tensor
        if table.device.type == "cpu":
            mapped = SparseProduct.apply(table, self.matrix())  # type: ignore[no-untyped-call]
        else:
            mapped = BagProduct.apply(table, self._bags(), self._transposed())  # type: ignore[no-untyped-call]
        return mapped

    def uses(self, rows: Tensor) -> Tensor:
        """How much each column is used by some rows, float [width]: the sum of squared values.

        Args:
            rows: int [B].
        """
        # Counts are whole numbers, so that their sum does not depend on the order.
        ones = self.values.new_ones(len(rows))
        counts = self.values.new_zeros(len(self.indptr) - 1).index_add_(0, rows, ones)
        transposed = self._transposed()
        return _bag_sum(counts[:, None], transposed._replace(values=transposed.squares)).squeeze(1)

    def _bags(self) -> "Bags":
        return Bags(self.indices, self.indptr, self.values, self.values)

    def _transposed(self) -> "Bags":
        """The entries by column, on the device, made once: for gradients, and sums by column."""
        if self._by_column is None or self._by_column.values.device != self.values.device:
            # Nothing here makes the host wait for a device.
            columns, order = self.indices.sort(stable=True)
            entries = torch.arange(len(columns), device=columns.device)
            rows = torch.searchsorted(self.indptr, entries, right=True) - 1
            begins = torch.arange(self.width + 1, device=columns.device)
            values = self.values[order]
            self._by_column = Bags(
                rows[order].to(self.indices),
                torch.searchsorted(columns, begins).to(self.indptr),
                values,
                values.square(),
            )
        return self._by_column


class SelectedRows(NamedTuple):
    """The features of the users or items of a batch of B ratings.

    Attributes:
        features: on the CPU a sparse matrix [n, width] with the features of those that
            occur; elsewhere those of all where they are few, which cost less there than choosing.
        position: int [B], the row of each rating's user or item in `features`.
    """

    features: "csr_array | FeatureRows | Entries"
    position: Tensor

    def map(self, table: Tensor) -> Tensor:
        """What the features of each rating's user or item are mapped to.

        Args:
            table: float [width, k].

        Returns:
            float [B, k].
        """
        if isinstance(self.features, FeatureRows):
            mapped = self.features.map_all(table)
        elif isinstance(self.features, Entries):
            mapped = self.features.map(table)
        else:
            mapped = SparseProduct.apply(table, self.features)  # type: ignore[no-untyped-call]
        return nn.functional.embedding(self.position, mapped)

    def uses(self) -> Tensor:
        """How much the ratings use each feature, float [width].

        A rating uses a feature of value x with weight x^2. These weights sum to 1 for each block,
        so that a block weighs as much as the row of an embedding, however many features there are
        in it.
        """
        if isinstance(self.features, FeatureRows | Entries):
            return self.features.uses(self.position)
        matrix = self.features
        counts = np.bincount(self.position.numpy(), minlength=matrix.shape[0])
        parts = (matrix.data**2, matrix.indices, matrix.indptr)
        squares = csr_array(parts, shape=matrix.shape, copy=False)
        return torch.from_numpy(squares.T @ counts.astype(matrix.dtype))


class Entries(NamedTuple):
    """The features of some n rows on a GPU.

    Attributes:
        of: int64 [entries], whose each is.
        indices: int [entries], columns.
        indptr: int [n + 1], where the entries of each row begin.
        values: float [entries].
        width: number of columns.
    """

    of: Tensor
    indices: Tensor
    indptr: Tensor
    values: Tensor
    width: int

    def map(self, table: Tensor) -> Tensor:
        """What each row is mapped to, float [n, k], of a table [width, k]."""
        return nn.functional.embedding_bag(
            self.indices, table, self.indptr[:-1], mode="sum", per_sample_weights=self.values
        )

    def uses(self, rows: Tensor) -> Tensor:
        """As `FeatureRows.uses`, of rows among these."""
        ones = self.values.new_ones(len(rows))
        counts = self.values.new_zeros(len(self.indptr) - 1).index_add_(0, rows, ones)
        used = self.values.new_zeros(self.width)
        return used.index_add_(0, self.indices, counts[self.of] * self.values.square())


class Bags(NamedTuple):
    """Sparse rows on any device, as torch's `embedding_bag` takes them.

    Attributes:
        indices: int [entries], columns.
        indptr: int [rows + 1], where the entries of each row begin.
        values: float [entries].
        squares: float [entries], of the values, where somebody wants them.
    """

    indices: Tensor
    indptr: Tensor
    values: Tensor
    squares: Tensor


def _bag_sum(table: Tensor, bags: Bags) -> Tensor:
    """Sparse rows times a dense table: one operation, in an order that is always the same."""
    return nn.functional.embedding_bag(
        bags.indices, table, bags.indptr[:-1], mode="sum", per_sample_weights=bags.values
    )


class BagProduct(torch.autograd.Function):
    """Sparse features times a dense table on a GPU; its gradient is such a product too.

    That of torch's `embedding_bag` sorts all entries at each step and adds in any order.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, bags: Bags, transposed: Bags) -> Tensor:
        """Float [rows, k] of a table [width, k]."""
        ctx.transposed = transposed
        return _bag_sum(table, bags)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Float [width, k]."""
        return _bag_sum(gradient.contiguous(), ctx.transposed), None, None


class SparseProduct(torch.autograd.Function):
    """Sparse features times a dense table on the CPU, with the exact gradient of the table.

    scipy's products are several times as fast here as torch's `embedding_bag` and its gradient,
    and need no transposed copy of the features.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, matrix: csr_array) -> Tensor:
        """Float [n, k] of a table [width, k] and features [n, width]."""
        ctx.matrix = matrix
        product: NDArray[Any] = matrix @ table.detach().numpy()
        return torch.from_numpy(product)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Float [width, k]."""
        product: NDArray[Any] = ctx.matrix.T @ gradient.numpy()
        return torch.from_numpy(product), None


class MappingTables(nn.Module):
    """A table for each side that has features.

    Args:
        features: of `users` and `items`, those that have any.
        width: length of a row.
        init_range: as for `EmbeddingTable`; a mapped row is then about as long as one of these.
    """

    def __init__(self, features: dict[str, FeatureRows], width: int, init_range: float) -> None:
        super().__init__()
        for side, rows in features.items():
            self.add_module(f"of_{side}", EmbeddingTable(rows.width, width, init_range))

    def by_side(self) -> dict[str, nn.Embedding]:
        """The tables, by side."""
        return {
            name.removeprefix("of_"): table
            for name, table in self.named_children()
            if isinstance(table, nn.Embedding)
        }


def features_from_buffers(state: Mapping[str, Tensor]) -> FeatureSet:
    """What a model was told beside ids, as its buffers have it.

    Args:
        state: of the model, as its `state_dict` names it.

    Returns:
        At most one block a side, since the buffers hold all of a side in one; columns are
        numbered.
    """
    time = []
    names = (key.split(".")[1] for key in state if key.startswith("time_effects."))
    for name in dict.fromkeys(names):
        prefix = f"time_effects.{name}."
        of_items, days, first_day, periods = state[prefix + "shape_"].tolist()
        of: Literal["users", "items"] = "items" if of_items else "users"
        keys = state[prefix + "keys"].cpu().numpy()
        time.append(TimeEffect(name, of, days, first_day, periods, keys))
    return FeatureSet(_block(state, "user"), _block(state, "item"), tuple(time))


def _block(state: Mapping[str, Tensor], side: str) -> tuple[FeatureBlock, ...]:
    prefix = f"{side}_features."
    if prefix + "indptr" not in state:
        return ()
    parts = [state[prefix + key].cpu().numpy() for key in ("values", "indices", "indptr")]
    width = int(state[prefix + "width_"])
    matrix = csr_array(tuple(parts), shape=(len(parts[2]) - 1, width))
    labels = pl.Series("label", [str(column) for column in range(width)])
    return (FeatureBlock("features", matrix, labels),)


# Of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class IdDropout(nn.Module):
    """Leaves out a random share of the ids of one side for a step.

    Of those only what an id without training ratings would have is left: its features, and no
    history. Volkovs, Yu and Poutanen (2017), "DropoutNet: addressing cold start in recommender
    systems". Nothing is scaled: with all that is known of it a row is as it is used.

    Args:
        share: of the ids.
        blocks: all feature blocks of the side; one at least is no history.
    """

    def __init__(self, share: float, blocks: Sequence[FeatureBlock]) -> None:
        super().__init__()
        self.share = share
        whole = FeatureRows(blocks).matrix()
        told = [
            csr_array(each.matrix.shape, dtype=np.float32) if each.is_history else each.matrix
            for each in blocks
        ]
        alone = csr_array(hstack(told, format="csr"))
        # The rows of those that are left out lie behind the others.
        self.rows = FeatureRows(csr_array(vstack([whole, alone], format="csr")), kept=False)

    def left_out(self, ids: Tensor, draw_seed: int) -> Tensor:
        """Which ids are left out in a step, the same wherever they occur in its batch.

        Args:
            ids: int [n].
            draw_seed: of the batch.

        Returns:
            bool [n].
        """
        return uniform(ids, draw_seed) < self.share

    def select(self, ids: Tensor, left_out: Tensor) -> SelectedRows:
        """Features of a batch's ids.

        Args:
            ids: int [n].
            left_out: bool [n].
        """
        behind = (len(self.rows.indptr) - 1) // 2
        return self.rows.select(ids.long() + behind * left_out)


def uniform(ids: Tensor, seed: int) -> Tensor:
    """A number in [0, 1) for each id, a function of both, float64 [n].

    Args:
        ids: int [n].
        seed: of all of them.
    """
    mixed = (ids.long() + 1) * _signed(GOLDEN) + _signed(seed * FIRST)
    for shift, factor in ((30, FIRST), (27, SECOND)):
        mixed = (mixed ^ _shifted(mixed, shift)) * _signed(factor)
    return _shifted(mixed ^ _shifted(mixed, 31), 11).double() * 2.0**-53


def _signed(number: int) -> int:
    """The int64 of the same bits, as products in torch wrap around."""
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number


def _shifted(values: Tensor, by: int) -> Tensor:
    """Bits moved right, zeros from the left, int64."""
    moved: Tensor = (values >> by) & (2 ** (64 - by) - 1)
    return moved
