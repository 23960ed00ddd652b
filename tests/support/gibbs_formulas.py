"""What Gibbs sampling draws from, by the textbook: under it, draws have uniform probabilities."""

import numpy as np
from scipy import stats
from scipy.special import chdtr, gammainc, ndtr, ndtri


def assert_uniform(probabilities, name=None):
    """Refuse numbers that are as good as never drawn uniformly and independently from 0 to 1."""
    probabilities = np.ravel(probabilities)
    # As normal scores, whose spread tells of errors that make draws too far off on both sides.
    squares = (ndtri(probabilities.clip(1e-12, 1 - 1e-12)) ** 2).sum()
    spread = stats.chi2(len(probabilities)).cdf(squares)
    assert 1e-5 < spread < 1 - 1e-5, name
    assert stats.kstest(probabilities, "uniform").pvalue > 1e-5, name


def of_a_precision(precision, prior, values, weights=1.0):
    """Cumulative probability of a precision given normal values that have `weights` times it."""
    values = np.asarray(values)
    rate = prior.rate + (weights * values**2).sum() / 2
    return gammainc(prior.shape + values.size / 2, precision * rate)


def of_a_row_prior(prior, scales, rows, links, constants):
    """Cumulative probabilities of what was drawn of a Gaussian-Wishart prior.

    Args:
        prior: with the mean, the precision P and the scales that were drawn.
        scales: those that P was drawn with.
        rows: normal with this mean and precision P.
        links: pairs of lambda and B, of which each row is normal with precision lambda P.
        constants: of the prior.

    Returns:
        By name: of P, of the mean given P, and of the scales given P.
    """
    (count, width), weight = rows.shape, constants.mean_weight
    mean = rows.mean(0)
    inverse = np.diag(scales) + (rows - mean).T @ (rows - mean)
    inverse += np.outer(mean, mean) / (1 / weight + 1 / count)
    inverse += sum(precision * matrix.T @ matrix for precision, matrix in links)
    degrees = width - 1 + constants.degrees
    more = count + sum(len(matrix) for _, matrix in links)
    root = np.linalg.cholesky(prior.precision)
    # Bartlett (1933): of a Wishart draw's factor in the coordinates of the scale matrix, the
    # squared diagonal has chi-squared distributions, each with a degree less than the one before.
    bartlett = np.linalg.solve(np.linalg.cholesky(np.linalg.inv(inverse)), root)
    centred = prior.mean - count * mean / (count + weight)
    rates = constants.scales.rate + np.diag(prior.precision) / 2
    return {
        "precision": chdtr(degrees + more - np.arange(width), np.diag(bartlett) ** 2),
        "mean": ndtr(np.sqrt(weight + count) * centred @ root),
        "scales": gammainc(constants.scales.shape + degrees / 2, prior.scales * rates),
    }


def of_noise_multiples(drawn, shape, counts, squares):
    """Cumulative probabilities of multiples of the noise precision with the prior Gamma(k, k).

    Args:
        drawn: [rows].
        shape: k.
        counts: [rows], ratings of each.
        squares: [rows], sums of squared residuals times the precision without the multiple.
    """
    return gammainc(shape + counts / 2, drawn * (shape + squares / 2))
