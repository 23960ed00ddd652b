"""Rows of cold users and items for each sample of a posterior, drawn about a regression."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lightning_collab.models.row_map import fit_row_map

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
