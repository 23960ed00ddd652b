"""What a model holds of every item, for some users at a time."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_collab.data.batches import rows_of
from lightning_collab.data.vocabulary import Side

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
# For each group of tables (`embeddings`, `biases`): float [n, width] of users and of items.
Rows = dict[str, tuple[Tensor, Tensor]]
# For each group of tables: float [b, width], the rows of b users.
UserRows = dict[str, Tensor]
RateRows = Callable[[Rows], Tensor]
# For each group of tables: float [rows, width] of `users` and of `items`.
Tables = dict[str, dict[str, Tensor]]

DOT_PRODUCT = "raw = (p * q).sum(1)"
# Lines of Python for the card of an exported model.
BIASED_DOT_PRODUCT = (
    DOT_PRODUCT,
    'raw = raw + tensors["users.biases"][users, 0] + tensors["items.biases"][items, 0]',
)

PAIRS_AT_A_TIME = 1 << 17


class ItemScores(ABC):
    """Scores of all known items, in the order of their ratings, where the tables are.

    Args:
        tables: of a trained model, in evaluation mode.
        rate_rows: of the model.
    """

    def __init__(self, tables: Tables, rate_rows: RateRows) -> None:
        self.tables = tables
        self.rate_rows = rate_rows

    @property
    def items(self) -> int:
        """How many items are scored: those that the model knows."""
        return len(self.tables["embeddings"]["items"]) - 1

    def of_users(self, users: slice | Tensor, out: Tensor | None = None) -> Tensor:
        """Scores of b users for every known item, float32 [b, items]: the better, the higher.

        Args:
            users: rows of the model: a slice of them, or int [b].
            out: where to put them; new memory for each block of users takes time of its own.
        """
        rows = {group: rows_of(table["users"], users) for group, table in self.tables.items()}
        return self.of_rows(rows, out)

    @abstractmethod
    def of_rows(self, rows: UserRows, out: Tensor | None = None) -> Tensor:
        """The same of users who need not be the model's own.

        Args:
            rows: table rows of the b users.
            out: where to put them.
        """

    def alike(self, items: Tensor, others: Tensor) -> Tensor:
        """How near some items are to others, float32 [n, m]: the cosine of their embeddings.

        Args:
            items: int64 [n], rows of the model.
            others: int64 [m], rows of the model.
        """
        vectors = self.tables["embeddings"]["items"].float()
        both = (torch.nn.functional.normalize(vectors[each], dim=1) for each in (items, others))
        one, other = both
        return one @ other.T

    @abstractmethod
    def ratings(self, scores: Tensor) -> Tensor:
        """Ratings of scores, not clamped, in the same shape."""

    def of_pairs(self, users: Ints, items: Ints) -> Tensor | None:
        """Ratings of pairs, float32 [n], not clamped; None where the model itself is as fast.

        Args:
            users: int32 [n], rows of the model, the unknown one too.
            items: int32 [n], rows of the model, the unknown one too.
        """
        return None


class DotProductScores(ItemScores):
    """Of models whose rating grows with one dot product: one matrix product scores a block.

    Biases are two more columns: <(p, b, 1), (q, 1, c)> = <p, q> + b + c.

    Args:
        tables: of the model.
        rate_rows: of the model.
        output: from dot products to ratings; None: they are the ratings.
    """

    def __init__(
        self, tables: Tables, rate_rows: RateRows, output: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__(tables, rate_rows)
        self._output = output
        # Of the users each block makes its own: a table of millions is not copied at each epoch.
        self._item_vectors = _side_by_side(tables, "items")
        self._known_items = self._item_vectors[1:].T

    def of_rows(self, rows: UserRows, out: Tensor | None = None) -> Tensor:
        """The dot products themselves."""
        return torch.mm(_with_bias(rows, "users"), self._known_items, out=out)

    def ratings(self, scores: Tensor) -> Tensor:
        """The model's output of the dot product."""
        return scores if self._output is None else self._output(scores)

    def of_pairs(self, users: Ints, items: Ints) -> Tensor:
        """By a kernel that needs no copy of the pairs' rows."""
        # numba takes a while to import.
        from lightning_collab.models.scoring_kernels import pair_products

        vectors = self._user_vectors, self._item_vectors.numpy()
        return self.ratings(torch.from_numpy(pair_products(*vectors, users, items)))

    @cached_property
    def _user_vectors(self) -> Floats:
        return _side_by_side(self.tables, "users").numpy()


def _side_by_side(tables: Tables, side: Side) -> Tensor:
    return _with_bias({group: table[side] for group, table in tables.items()}, side).contiguous()


def _with_bias(rows: UserRows, side: Side) -> Tensor:
    """(p, b, 1) of users, (q, 1, c) of items; float32."""
    vectors = rows["embeddings"].float()
    if "biases" not in rows:
        return vectors
    bias = rows["biases"].float()
    one = torch.ones_like(bias)
    return torch.cat([vectors, bias, one] if side == "users" else [vectors, one, bias], dim=1)


class SampleMeanScores(ItemScores):
    """Of a model that averages the predictions of samples: a matrix product for each of them.

    Args:
        tables: of the model, with means over the samples.
        rate_rows: of the model.
        samples: float [samples, rows, 1 + factors] of users and of items, bias first.
        mean: rating; a scalar.
    """

    def __init__(
        self, tables: Tables, rate_rows: RateRows, samples: tuple[Tensor, Tensor], mean: Tensor
    ) -> None:
        super().__init__(tables, rate_rows)
        self._samples, self._mean_rating = samples, mean
        self._of_means = DotProductScores(tables, rate_rows)

    def of_users(self, users: slice | Tensor, out: Tensor | None = None) -> Tensor:
        """Means over the samples, less the mean rating."""
        of_user, of_item = self._samples
        if not len(of_user):
            return self._of_means.of_users(users, out)
        # Biases are linear, so that the mean over samples is that in the tables.
        of_users, of_items = (self.tables["biases"][side] for side in ("users", "items"))
        scores = torch.add(rows_of(of_users, users), of_items[1:].T, out=out)
        for user_factors, item_factors in zip(of_user, of_item, strict=True):
            own = rows_of(user_factors, users)[:, 1:]
            scores.addmm_(own, item_factors[1:, 1:].T, alpha=1 / len(of_user))
        return scores

    def of_rows(self, rows: UserRows, out: Tensor | None = None) -> Tensor:
        """Of the mean factors, less the mean rating: samples know nothing of other users."""
        return self._of_means.of_rows(rows, out)

    def ratings(self, scores: Tensor) -> Tensor:
        """With the mean rating."""
        return scores + self._mean_rating


class PairwiseScores(ItemScores):
    """Of any other model: every pair goes through it, some at a time."""

    def of_rows(self, rows: UserRows, out: Tensor | None = None) -> Tensor:
        """The ratings themselves."""
        count, device = len(rows["embeddings"]), rows["embeddings"].device
        scores = torch.empty(count, self.items, device=device) if out is None else out
        step = max(1, PAIRS_AT_A_TIME // self.items)
        for start in range(0, count, step):
            part = {group: values[start : start + step] for group, values in rows.items()}
            scores[start : start + step] = self._of_block(part)
        return scores

    def ratings(self, scores: Tensor) -> Tensor:
        """The same."""
        return scores

    def _of_block(self, rows: UserRows) -> Tensor:
        count, device = len(rows["embeddings"]), rows["embeddings"].device
        users = torch.arange(count, device=device).repeat_interleave(self.items)
        items = torch.arange(1, self.items + 1, device=device).repeat(count)
        pairs = {
            group: (values[users], self.tables[group]["items"][items])
            for group, values in rows.items()
        }
        return self.rate_rows(pairs).view(count, self.items)
