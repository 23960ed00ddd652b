"""What is said at the end of a run beside its numbers."""

import pytest

from lightning_collab.training.result_tables import below_biases


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (0.93, None),
        (0.95, r"test RMSE 0.9500 does not beat user and item biases (0.9400); try "),
        (1.2, "test RMSE 1.2000 is worse than the mean rating for everything (1.1300); train "),
    ],
)
def test_a_run_that_does_not_beat_its_baseline_says_so(own, said):
    metrics = {"val/rmse": 0.5, "test/rmse": own}
    assert below_biases(metrics) is None
    metrics |= {"baseline/bias_rmse": 0.94, "baseline/mean_rmse": 1.13}
    found = below_biases(metrics)
    assert found is None if said is None else found.startswith(said)


def test_it_is_the_part_that_the_baseline_is_of():
    metrics = {"val/rmse": 0.95, "baseline/bias_rmse": 0.94}
    assert below_biases(metrics).startswith("val RMSE 0.9500 does not beat")
    assert below_biases({"test/ndcg@10": 0.3}) is None
