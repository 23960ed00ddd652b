"""What any model must beat: the mean, and the biases of users and items."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

BIAS_PENALTY = 5.0
TOLERANCE = 1e-6
MAX_SWEEPS = 200

Ids = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class BiasBaseline:
    """rating = mean + b_u + b_i, fitted by ridge regression.

    Koren (2010), "Factor in the neighbors", section 2.1: the minimum of
    sum (r - mean - b_u - b_i)^2 + penalty * (sum b_u^2 + sum b_i^2), found exactly by solving for
    users and items in turn until nothing moves any more.

    Attributes:
        mean: of the training ratings.
        user_bias: float64 [user rows]; 0 for users without training ratings.
        item_bias: float64 [item rows]; 0 for items without training ratings.
    """

    mean: float
    user_bias: Floats
    item_bias: Floats

    @classmethod
    def fit(
        cls,
        users: Ids,
        items: Ids,
        ratings: Floats,
        *,
        user_rows: int,
        item_rows: int,
        penalty: float = BIAS_PENALTY,
    ) -> Self:
        """Fit to training ratings.

        Args:
            users: int [n].
            items: int [n].
            ratings: float [n].
            user_rows: length of the user bias.
            item_rows: length of the item bias.
            penalty: ridge penalty on every squared bias.
        """
        mean = float(ratings.mean(dtype=np.float64))
        centred = ratings.astype(np.float64) - mean
        user_weight = np.bincount(users, minlength=user_rows) + penalty
        item_weight = np.bincount(items, minlength=item_rows) + penalty
        user_bias, item_bias = np.zeros(user_rows), np.zeros(item_rows)
        for _ in range(MAX_SWEEPS):
            before = user_bias
            residual = centred - item_bias[items]
            user_bias = np.bincount(users, residual, minlength=user_rows) / user_weight
            residual = centred - user_bias[users]
            item_bias = np.bincount(items, residual, minlength=item_rows) / item_weight
            if np.abs(user_bias - before).max() < TOLERANCE:
                break
        return cls(mean, user_bias, item_bias)

    def predict(self, users: Ids, items: Ids) -> Floats:
        """Predicted ratings, float64 [n], not clamped."""
        predicted: Floats = self.mean + self.user_bias[users] + self.item_bias[items]
        return predicted
