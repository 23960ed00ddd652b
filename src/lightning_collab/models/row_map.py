"""From features to whole rows of a trained model, for users and items that it never saw.

Also for each sample of a posterior, where rows are drawn about the regression.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl
import torch
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


Floats = NDArray[np.float32]


class SampledMaps(NamedTuple):
    """For each of S samples, a regression of its rows on features and what it leaves open.

    Attributes:
        intercepts: float32 [S, width].
        coefficients: float32 [S, features, width].
        roots: float32 [S, width, width], lower triangular: the covariance of a row about the
            regression is root root'.
    """

    intercepts: Floats
    coefficients: Floats
    roots: Floats

    @classmethod
    def fit(
        cls, features: csr_array, samples: Floats, others: Floats, weights: NDArray[Any]
    ) -> Self:
        """The regressions of the trained rows.

        Args:
            features: [n, features].
            samples: float32 [S, n, width], rows, bias first.
            others: float32 [S, m, width], those of the other side, whose second moments say which
                errors count.
            weights: [n], training ratings of each row.
        """
        maps, roots = [], []
        total = max(float(weights.sum()), 1.0)
        for rows, other in zip(samples.astype(np.float64), others.astype(np.float64), strict=True):
            met = other.copy()
            met[:, 0] = 1.0
            found = fit_row_map(features, rows, weights, met.T @ met / max(1, len(met)))
            left = rows - found.rows(features)
            covariance = (left.T * weights) @ left / total
            covariance[np.diag_indices_from(covariance)] += 1e-9
            maps.append(found)
            roots.append(np.linalg.cholesky(covariance))
        return cls(
            np.array([each.intercept for each in maps], np.float32),
            np.array([each.coefficients for each in maps], np.float32),
            np.array(roots, np.float32),
        )

    def draw(self, features: csr_array, ids: pl.Series) -> Floats:
        """A row of each id in each sample, float32 [S, ids, width].

        The random part is a function of the id and the sample alone.

        Args:
            features: [ids, features].
            ids: raw ids.
        """
        count, width = self.intercepts.shape
        known = np.stack([features @ each for each in self.coefficients])
        noise = np.empty((count, len(ids), width), np.float32)
        for place, raw_id in enumerate(ids.to_list()):
            key = hashlib.sha256(str(raw_id).encode()).digest()[:8]
            random = np.random.default_rng(int.from_bytes(key, "little"))
            noise[:, place] = random.standard_normal((count, width), dtype=np.float32)
        drawn: Floats = known + self.intercepts[:, None] + noise @ self.roots.transpose(0, 2, 1)
        return drawn.astype(np.float32)

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors that `from_state` takes."""
        return {name: torch.from_numpy(each) for name, each in self._asdict().items()}

    @classmethod
    def from_state(cls, state: Mapping[str, torch.Tensor]) -> Self:
        """The maps that `state` came from."""
        return cls(**{name: each.numpy() for name, each in state.items()})
