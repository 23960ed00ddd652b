"""From features to rows of one side of a dot product, by the ratings that the rows are to give."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.sparse import csr_array, hstack

from lightning_collab.models.rating_output import Output
from lightning_collab.models.row_map import FOLDS, RowMap

Array = NDArray[Any]

# Penalties that may be tried, on squared coefficients beside squared errors of ratings.
PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
# Of the space that rows lie in, features move a row along the main directions of the other side's
# vectors alone: more cost time, and gained nothing.
DIRECTIONS = 24
# Unknowns of the linear system: above it, factorizing it would take longer than the training.
MOST_UNKNOWNS = 6000
STEPS = 3
# Whose sums are held at once: each has the square of the directions.
ROWS_AT_A_TIME = 4096


class RatedRows(NamedTuple):
    """Ratings of some rows by known rows of the other side, grouped by row.

    Attributes:
        starts: int64 [rows + 1], where the ratings of each row begin.
        others: int32 [n], rows of the other side.
        ratings: float [n], in rating units.
        vectors: float [other rows, width], what a row is multiplied with; 1 for its bias.
        levels: float [other rows], what is added to the product.
        output: from the sum to a rating.
    """

    starts: NDArray[np.int64]
    others: NDArray[np.integer[Any]]
    ratings: Array
    vectors: Array
    levels: Array
    output: Output


# Of a row: its directions take the cube of it to find.
WIDEST = 2048


def can_fit(features: int, width: int) -> bool:
    """Whether the linear system of so many features and numbers in a row is small enough."""
    return width <= WIDEST and (features + 1) * min(width, DIRECTIONS) <= MOST_UNKNOWNS


def fit_rating_map(rated: RatedRows, features: csr_array, start: RowMap) -> RowMap:
    """The map whose rows give the ratings best, its penalty chosen by cross-validation over rows.

    With x_i the features of row i and p_u the vector of the other side, it makes

        sum_ui (r_ui - output(<p_u, c + x_i B> + level_u))^2 + penalty * |B|^2

    least, by Gauss-Newton steps (Nocedal and Wright 2006, "Numerical optimization", chapter 10).
    In contrast to a regression of trained rows it does not learn how they are shrunk, and a rating
    counts for the directions that it says something of.

    Args:
        rated: n rows.
        features: [n, features].
        start: from which the steps begin.
    """
    columns = csr_array(features, dtype=np.float64)
    axes = _main_directions(rated)
    found = start
    penalty = PENALTIES[0]
    # Without features there is nothing to hold back.
    folds = FOLDS if columns.shape[1] and len(rated.starts) > 2 * FOLDS else 1
    for step in range(_steps(rated)):
        parts = folds if step == 0 else 1
        systems = _systems(rated, columns, found, _Frame(axes, start.intercept), parts)
        whole = systems[0] if parts == 1 else _sum(systems)
        if parts > 1:
            penalty = _best_penalty(whole, systems)
        unknowns = whole.solved(penalty) @ axes.T
        found = RowMap(start.intercept + unknowns[0], unknowns[1:], penalty)
    return found


def _best_penalty(whole: "_System", systems: "list[_System]") -> float:
    """By cross-validation, on the way down from the middle: each costs a factorization a part."""
    others = [_less(whole, part) for part in systems]

    def error(place: int) -> float:
        pairs = zip(systems, others, strict=True)
        return sum(part.error(rest.solved(PENALTIES[place])) for part, rest in pairs)

    at = start = (len(PENALTIES) - 1) // 2
    least = error(at)
    for way in (1, -1):
        while at == start or way * (at - start) > 0:
            if not 0 <= at + way < len(PENALTIES) or (found := error(at + way)) >= least:
                break
            at, least = at + way, found
    return PENALTIES[at]


def _steps(rated: RatedRows) -> int:
    """Without a sigmoid the first is exact."""
    return STEPS if rated.output.sigmoid else 1


class _Frame(NamedTuple):
    """How rows follow from unknowns: origin + unknowns along the axes.

    Attributes:
        axes: [width, directions], orthonormal.
        origin: [width].
    """

    axes: Array
    origin: Array


def _main_directions(rated: RatedRows) -> Array:
    """The main axes of the other side's vectors, weighted by ratings, [width, directions]."""
    counts = np.bincount(rated.others, minlength=len(rated.vectors))
    vectors = rated.vectors.astype(np.float64)
    _, axes = eigh((vectors.T * counts) @ vectors)
    main: Array = axes[:, ::-1][:, :DIRECTIONS]
    return main


class _System(NamedTuple):
    """The quadratic form of the squared errors around the last step.

    Attributes:
        squares: [features + 1, width, features + 1, width].
        products: [features + 1, width].
        constant: the sum of the squared targets.
    """

    squares: Array
    products: Array
    constant: float

    def solved(self, penalty: float) -> Array:
        """The unknowns where it is least, [features + 1, width]; the first row is not penalized."""
        count, width = self.products.shape
        matrix = self.squares.reshape(count * width, count * width).copy()
        ridge = np.full(count * width, penalty)
        # Enough for a system without ratings to have a solution.
        ridge[:width] = 1e-6
        matrix[np.diag_indices_from(matrix)] += ridge
        factor = cho_factor(matrix, lower=True, overwrite_a=True)
        solution: Array = cho_solve(factor, self.products.ravel())
        return solution.reshape(count, width)

    def error(self, unknowns: Array) -> float:
        """The squared errors for some unknowns."""
        flat = unknowns.ravel()
        matrix = self.squares.reshape(len(flat), len(flat))
        return self.constant - 2 * float(self.products.ravel() @ flat) + float(flat @ matrix @ flat)


def _sum(systems: list[_System]) -> _System:
    return _System(
        np.sum([each.squares for each in systems], axis=0),
        np.sum([each.products for each in systems], axis=0),
        sum(each.constant for each in systems),
    )


def _less(whole: _System, part: _System) -> _System:
    return _System(
        whole.squares - part.squares, whole.products - part.products, whole.constant - part.constant
    )


def _systems(
    rated: RatedRows, features: csr_array, found: RowMap, frame: _Frame, parts: int
) -> list[_System]:
    """Of each part of the rows: every `parts`-th one."""
    if not features.shape[1]:
        return [_of_intercept(rated, found, frame)]
    rows = len(rated.starts) - 1
    # The intercept first.
    columns = csr_array(hstack([np.ones((rows, 1)), features], format="csr"))
    width, count = frame.axes.shape[1], columns.shape[1]
    squares = np.zeros((parts, count, count, width * width))
    products = np.zeros((parts, count, width))
    constants = np.zeros(parts)
    now = found.rows(features)
    for first in range(0, rows, ROWS_AT_A_TIME):
        chosen = np.arange(first, min(first + ROWS_AT_A_TIME, rows))
        of_rows = _row_sums(rated, chosen, now, frame)
        for part in range(parts):
            mine = chosen % parts == part
            grams, sides, targets = (each[mine] for each in of_rows)
            theirs = csr_array(columns[chosen[mine]])
            by_column = theirs.tocsc()
            for column in range(count):
                met = slice(by_column.indptr[column], by_column.indptr[column + 1])
                who = by_column.indices[met]
                weighted = csr_array(theirs[who].multiply(by_column.data[met, None]))
                squares[part, column] += weighted.T @ grams[who]
            products[part] += theirs.T @ sides
            constants[part] += targets.sum()
    return [
        _System(
            each.reshape(count, count, width, width).transpose(0, 2, 1, 3), product, float(constant)
        )
        for each, product, constant in zip(squares, products, constants, strict=True)
    ]


def _of_intercept(rated: RatedRows, found: RowMap, frame: _Frame) -> _System:
    """The system of rows without features, which are one, so that sums of each other row do."""
    size = len(rated.vectors)
    counts = np.bincount(rated.others, minlength=size)
    ratings = np.asarray(rated.ratings, np.float64)
    sums, squares = (
        np.bincount(rated.others, each, minlength=size) for each in (ratings, ratings**2)
    )
    vectors = rated.vectors.astype(np.float64)
    product = vectors @ found.intercept
    rating, slope = _linearised(rated.output, product + rated.levels)
    shift = slope * (product - vectors @ frame.origin) - rating
    scaled = slope[:, None] * (vectors @ frame.axes)
    constant = squares + 2 * shift * sums + shift**2 * counts
    return _System(
        ((scaled.T * counts) @ scaled)[None, :, None, :],
        (scaled.T @ (sums + shift * counts))[None],
        float(constant.sum()),
    )


def _row_sums(
    rated: RatedRows, rows: NDArray[np.int64], now: Array, frame: _Frame
) -> tuple[Array, Array, Array]:
    """Sums over the ratings of each of some rows that lie side by side.

    Returns:
        [rows, directions^2], products of the slopes; [rows, directions], of slopes and targets;
        [rows], squared targets.
    """
    whole = rated.vectors.astype(np.float64)
    turned, at_origin = whole @ frame.axes, whole @ frame.origin
    width = turned.shape[1]
    grams, sides = np.zeros((len(rows), width, width)), np.zeros((len(rows), width))
    targets = np.zeros(len(rows))
    for place, row in enumerate(rows):
        mine = slice(rated.starts[row], rated.starts[row + 1])
        others = rated.others[mine]
        product = whole[others] @ now[row]
        rating, slope = _linearised(rated.output, product + rated.levels[others])
        target = rated.ratings[mine] - rating + slope * (product - at_origin[others])
        scaled = slope[:, None] * turned[others]
        np.matmul(scaled.T, scaled, out=grams[place])
        sides[place] = target @ scaled
        targets[place] = target @ target
    return grams.reshape(len(rows), -1), sides, targets


def _linearised(output: Output, raw: Array) -> tuple[Array, Array]:
    """Ratings of raw numbers, and how fast they change."""
    if not output.sigmoid:
        return output.low + raw, np.ones_like(raw)
    share = 1.0 / (1.0 + np.exp(-raw))
    return output.low + output.span * share, output.span * share * (1.0 - share)
