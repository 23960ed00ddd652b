"""From features to whole rows of a trained model, for users and items that it never saw."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_array

Array = NDArray[np.float64]

# Penalties that are tried, as shares of the sum of the weights; the last one leaves the mean alone.
PENALTIES = (*np.logspace(-6, 0, 13), np.inf)
FOLDS = 5


class RowMap(NamedTuple):
    """A linear map with an intercept.

    Attributes:
        intercept: float64 [width], the weighted mean of the rows, at the mean of the features.
        coefficients: float64 [features, width].
        penalty: that was chosen, as a share of the sum of the weights.
    """

    intercept: Array
    coefficients: Array
    penalty: float

    def rows(self, features: csr_array) -> Array:
        """Rows of some users or items, float64 [n, width].

        Args:
            features: [n, features].
        """
        mapped: Array = features @ self.coefficients + self.intercept
        return mapped


class _Moments(NamedTuple):
    """Weighted sums over some rows, from which the ridge regression follows."""

    weight: float
    features: Array
    rows: Array
    squares: Array
    products: Array

    @classmethod
    def of(cls, features: csr_array, rows: Array, weights: Array) -> "_Moments":
        weighted = csr_array(features.multiply(weights[:, None]))
        return cls(
            float(weights.sum()),
            np.asarray(weighted.sum(0)).ravel(),
            weights @ rows,
            (features.T @ weighted).toarray(),
            weighted.T @ rows,
        )

    def less(self, other: "_Moments") -> "_Moments":
        return _Moments(
            self.weight - other.weight,
            self.features - other.features,
            self.rows - other.rows,
            self.squares - other.squares,
            self.products - other.products,
        )

    def maps(self, penalties: tuple[float, ...]) -> list[RowMap]:
        """The ridge regression for each penalty, which the intercept is free of."""
        of_features, of_rows = self.features / self.weight, self.rows / self.weight
        squares = self.squares - self.weight * np.outer(of_features, of_features)
        products = self.products - self.weight * np.outer(of_features, of_rows)
        values, vectors = eigh(squares)
        turned = vectors.T @ products
        found = []
        for penalty in penalties:
            scale = 1.0 / (np.maximum(values, 0.0) + penalty * self.weight)
            coefficients = vectors @ (scale[:, None] * turned)
            found.append(RowMap(of_rows - of_features @ coefficients, coefficients, penalty))
        return found


def fit_row_map(
    features: csr_array, rows: NDArray[Any], weights: NDArray[Any], metric: NDArray[Any] | None
) -> RowMap:
    """The ridge regression of rows on features, its penalty chosen by cross-validation.

    With x_i the features, y_i the row and n_i the weight of i, it makes

        sum_i n_i |y_i - c - x_i B|^2 + penalty * sum_i n_i * |B|^2

    least. The penalty is the one with the least error over five parts of the rows, each left out
    in turn, where the error of a row is n_i (y_i - c - x_i B) G (y_i - c - x_i B)': with G the
    second moments of the other side's rows, the squared error of the predictions that it makes.

    Args:
        features: [n, features].
        rows: float [n, width].
        weights: float [n], of each row: its number of training ratings.
        metric: float [width, width], G; None: the unit matrix.
    """
    rows, weights = np.asarray(rows, np.float64), np.asarray(weights, np.float64)
    features = csr_array(features, dtype=np.float64)
    whole = _Moments.of(features, rows, weights)
    errors = np.zeros(len(PENALTIES))
    part = np.arange(len(rows)) % FOLDS
    for fold in range(FOLDS if len(rows) >= 2 * FOLDS else 0):
        left_out = np.flatnonzero(part == fold)
        theirs = features[left_out]
        others = whole.less(_Moments.of(theirs, rows[left_out], weights[left_out]))
        if others.weight <= 0:
            continue
        for number, found in enumerate(others.maps(PENALTIES)):
            missed = rows[left_out] - found.rows(theirs)
            seen = missed if metric is None else missed @ metric
            errors[number] += weights[left_out] @ (seen * missed).sum(1)
    return whole.maps((PENALTIES[int(errors.argmin())] if errors.any() else np.inf,))[0]
