"""Whether one experiment is better than another on the same folds, or only luckier."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def paired_comparison(
    one: ArrayLike, other: ArrayLike, *, test_over_train: float | None = None
) -> dict[str, Any]:
    """Mean difference of paired values, and two-sided tests of its being zero.

    Args:
        one: float [n].
        other: float [n], in the same order.
        test_over_train: size of a fold's test part over that of its training part. With it, the
            t-test is corrected for folds whose training parts overlap (Nadeau and Bengio 2003,
            "Inference for the generalization error", section 3): the variance of the mean is
            (1/n + test/train) times that of the differences, not 1/n.

    Returns:
        `pairs`, `mean_difference` (one - other), `t_p`, `wilcoxon_p` and, where it applies,
        `corrected_t_p`; a p is None where it cannot be had (a single pair, no difference at all).
    """
    differences = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    count = len(differences)
    result: dict[str, Any] = {
        "pairs": count,
        "mean_difference": float(differences.mean()),
        "t_p": None,
        "wilcoxon_p": None,
    }
    spread = float(differences.std(ddof=1)) if count > 1 else 0.0
    if np.any(differences) and count > 1:
        result["wilcoxon_p"] = float(stats.wilcoxon(differences).pvalue)
    if spread > 0:
        result["t_p"] = float(stats.ttest_1samp(differences, 0).pvalue)
    if test_over_train is not None:
        result["corrected_t_p"] = None
        if spread > 0:
            t = differences.mean() / (spread * np.sqrt(1 / count + test_over_train))
            result["corrected_t_p"] = float(2 * stats.t.sf(abs(t), count - 1))
    return result


def spread_of(values: Sequence[float]) -> dict[str, Any]:
    """The values with their mean and standard deviation (None for a single one).

    Args:
        values: of each fold.
    """
    return {
        "values": list(values),
        "mean": float(np.mean(values)),
        "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    }
