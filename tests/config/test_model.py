"""What is measured, and which end of it is best."""

import pytest

from lightning_collab.config.model import RANKING_METRICS, MetricsConfig
from lightning_collab.errors import ConfigError


def test_as_shipped(run_config):
    metrics = run_config().metrics
    assert metrics == MetricsConfig()
    assert metrics.top_k == [10, 20]
    assert (metrics.liked, metrics.users) == (None, None)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("top_k=[]", r"metrics\.top_k.*at least 1 item"),
        ("top_k=[0,5]", r"metrics\.top_k.*greater than or equal to 1"),
        ("top_k=[5,5]", r"metrics\.top_k.*ascending"),
        ("top_k=[10,5]", r"metrics\.top_k.*ascending"),
        ("top_k=10", r"metrics\.top_k.*list"),
        ("liked=most", r"metrics\.liked"),
        ("users=0", r"metrics\.users.*greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_refused_by_their_key(run_config, typed, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        run_config(f"metrics.{typed}")


def test_names_and_their_better_end():
    metrics = MetricsConfig(top_k=[5, 50])
    assert len(metrics.rankings) == len(set(metrics.rankings)) == 2 * len(RANKING_METRICS)
    assert {"val/ndcg@5", "val/hit_rate@50", "val/mean_popularity@5"} < set(metrics.rankings)
    least = {name for name in metrics.rankings if metrics.mode(name) == "min"}
    assert least == {f"val/{name}@{k}" for name in ("gini", "mean_popularity") for k in (5, 50)}
    assert metrics.mode("val/rmse") == "min"


def test_what_is_liked(run_config):
    def liked(*typed):
        config = run_config(*typed)
        return config.liked

    assert liked() == 4.0
    assert liked("metrics.liked=3") == 3.0
    assert liked("metrics.liked=all") == "all"
    assert liked("loss=softmax") == "all"
    assert liked("loss=softmax", "loss.positives=3.5") == 3.5
    assert liked("loss=softmax", "loss.positives=3.5", "metrics.liked=5") == 5.0
