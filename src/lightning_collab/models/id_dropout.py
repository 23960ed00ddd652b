"""Rows of ids that are left out in a step, so that features learn to replace them."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array, hstack, vstack
from torch import Tensor, nn

from lightning_collab.data.features import FeatureBlock
from lightning_collab.models.feature_rows import FeatureRows, SelectedRows

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
