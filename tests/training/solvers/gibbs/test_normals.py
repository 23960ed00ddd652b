import numpy as np
from scipy import stats

from lightning_collab.training.solvers.gibbs.conditionals import Streams, normals


def test_numbers_are_standard_normal_and_independent():
    drawn = normals(20000, 5, np.uint64(7))
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 0.01
    assert np.abs(np.corrcoef(drawn.T) - np.eye(5)).max() < 0.03
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.03
    assert abs(stats.kurtosis(drawn.ravel())) < 0.05


def test_neighboring_streams_have_nothing_in_common():
    streams = [Streams(1, 0), Streams(1, 1), Streams(2, 0)]
    keys = [s.key() for s in streams for _ in range(2)]
    drawn = np.array([normals(5000, 1, key)[:, 0] for key in keys])
    assert np.abs(np.corrcoef(drawn) - np.eye(6)).max() < 0.06


def test_a_row_has_its_numbers_whatever_rows_there_are():
    assert np.array_equal(normals(3, 4, np.uint64(5)), normals(90, 4, np.uint64(5))[:3])


def test_the_same_sweep_draws_the_same():
    one, two = Streams(3, 8), Streams(3, 8)
    assert one.key() == two.key()
    assert one.generator().random() == two.generator().random()
