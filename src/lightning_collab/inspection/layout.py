"""From many dimensions to two, and the ends of the main directions and of the biases."""

import logging
import os
import warnings
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.config.commands import MapChoice, MapMethod
from lightning_collab.errors import InspectionError

log = logging.getLogger(__name__)

TITLES: dict[MapMethod, str] = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}
TSNE_ITERATIONS = 500
FEW_POINTS = 5000


def chosen_method(choice: MapChoice) -> MapMethod:
    """The layout that is meant; `auto` is t-SNE where it is installed, else PCA, with a word of it.

    Args:
        choice: from a config.
    """
    if choice != "auto":
        return choice
    if find_spec("openTSNE") is not None:
        return "tsne"
    log.info("the map is a PCA; for t-SNE: pip install 'lightning-collab[tsne]'")
    return "pca"


def plane(
    vectors: NDArray[np.float32],
    method: MapMethod,
    *,
    seed: int = 0,
    perplexity: float = 30.0,
    iterations: int = TSNE_ITERATIONS,
) -> NDArray[np.float64]:
    """Positions in the plane, near one another where the vectors are.

    `pca` keeps distances as well as a linear map can; `tsne` (van der Maaten and Hinton 2008) and
    `umap` (McInnes, Healy and Melville 2018) keep neighbors, by cosine.

    Args:
        vectors: float32 [n, factors], n at least 3.
        method: of the layout.
        seed: of t-SNE and UMAP.
        perplexity: of t-SNE; lowered where there are too few points for it.
        iterations: of t-SNE, after its early ones.

    Returns:
        float64 [n, 2], centered, the widest axis first.

    Raises:
        InspectionError: too few points, or the method's package is not installed.
    """
    if len(vectors) < 3:
        raise InspectionError(
            f"a map needs at least 3 points, and there are {len(vectors)}; lower min_ratings"
        )
    match method:
        case "pca":
            positions = principal_components(vectors, 2)
        case "tsne":
            positions = _tsne(vectors, seed, perplexity, iterations)
        case "umap":
            positions = _umap(vectors, seed)
    positions = np.asarray(positions, dtype=np.float64)
    positions -= positions.mean(axis=0)
    return positions[:, np.argsort(-positions.std(axis=0), kind="stable")]


def principal_components(vectors: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Coordinates along the directions of largest variance, the largest first.

    The sign of each direction is such that its largest loading is positive.

    Args:
        vectors: float32 [n, factors].
        count: how many; fewer are given where there are not so many.

    Returns:
        float64 [n, at most count].
    """
    centered = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    # Eigenvectors of the small matrix: the cost is that of reading the vectors once.
    _, directions = np.linalg.eigh(centered.T @ centered)
    directions = directions[:, ::-1][:, :count]
    largest = np.abs(directions).argmax(axis=0)
    signs = np.sign(np.take_along_axis(directions, largest[None, :], axis=0))
    coordinates: NDArray[np.float64] = centered @ (directions * signs)
    return coordinates


def _tsne(
    vectors: NDArray[np.float32], seed: int, perplexity: float, iterations: int
) -> NDArray[np.float64]:
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise _missing("tsne", "openTSNE") from error
    tsne = TSNE(
        perplexity=min(perplexity, (len(vectors) - 1) / 3),
        metric="cosine",
        initialization="pca",
        n_iter=iterations,
        random_state=seed,
        # Threads that wait for one another cost more than they bring where there are few points.
        n_jobs=1 if len(vectors) <= FEW_POINTS else _cores(),
        neighbors="exact" if len(vectors) <= FEW_POINTS else "auto",
    )
    positions: NDArray[np.float64] = np.asarray(tsne.fit(_directed(vectors)))
    return positions


def _umap(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    try:
        from umap import UMAP
    except ImportError as error:
        raise _missing("umap", "umap-learn") from error
    with warnings.catch_warnings():
        # A seed means one thread, which is what we want and UMAP warns of.
        warnings.filterwarnings("ignore", message="n_jobs value")
        umap = UMAP(metric="cosine", random_state=seed, n_neighbors=min(15, len(vectors) - 1))
        positions: NDArray[np.float64] = umap.fit_transform(_directed(vectors))
    return positions


def _missing(method: MapMethod, package: str) -> InspectionError:
    return InspectionError(
        f"method={method} needs the package {package}: pip install 'lightning-collab[{method}]', "
        "or take method=pca"
    )


def _directed(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors with none that is exactly zero, which has no angle to the others."""
    return np.where(vectors.any(axis=1, keepdims=True), vectors, np.float32(1e-6))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


COMPONENTS = 3


class Ends(NamedTuple):
    """The rows at both ends of a scale.

    Attributes:
        name: of the scale.
        top: rows with the highest values, highest first; the last column, `value`, has them.
        bottom: rows with the lowest values, lowest first.
    """

    name: str
    top: pl.DataFrame
    bottom: pl.DataFrame


def extremes(
    described: pl.DataFrame,
    vectors: NDArray[np.float32],
    biases: NDArray[np.float32] | None,
    *,
    count: int = 10,
) -> list[Ends]:
    """Who is at the ends of the bias and of the first principal components.

    The bias is what is left of a film's rating when the tastes of those who rated it are
    accounted for: the films that people liked, or did not, whatever they usually like.

    Args:
        described: what to show of each row.
        vectors: float32 [n, factors], of the same rows.
        biases: float32 [n]; None where the model has none.
        count: rows at each end.

    Returns:
        `bias` where there is one, then `principal component 1` to `3`.
    """
    result = [] if biases is None else [_ends("bias", described, biases, count)]
    components = principal_components(vectors, COMPONENTS)
    for number in range(components.shape[1]):
        values = components[:, number].astype(np.float32)
        result.append(_ends(f"principal component {number + 1}", described, values, count))
    return result


def _ends(name: str, described: pl.DataFrame, values: NDArray[np.float32], count: int) -> Ends:
    order = np.argsort(-values, kind="stable")
    # Never the same row at both ends.
    count = min(count, len(order) // 2)
    table = described.with_columns(value=pl.Series(values))
    return Ends(name, table[order[:count]], table[order[::-1][:count]])
