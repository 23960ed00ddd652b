"""What is said at the end of a run beside its numbers, and rankings beside the baselines."""

import re
from io import StringIO

import pytest
from rich.console import Console

from lightning_collab.config.model import RANKING_METRICS
from lightning_collab.training.result_tables import below_biases, below_most_popular, ranking_table


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


METRICS = {
    f"{prefix}/{name}@{k}": float(number) + k / 100
    for number, prefix in enumerate(
        ("val", "test", "baseline/most_popular", "baseline/item_knn", "baseline/ease")
    )
    for name in RANKING_METRICS
    for k in (10, 20)
} | {"baseline/ease/penalty": 400.0, "epochs": 3}


def printed(metrics, width=80):
    console = Console(width=width, record=True, file=StringIO())
    console.print(ranking_table(metrics, "embedding_dot_bias"))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_all_numbers_in_few_columns(width):
    lines = printed(METRICS, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines if "@" in line]
    assert len(rows) == 2 * len(RANKING_METRICS)
    assert rows[0] == ["NDCG@10", "0.1000", "1.1000", "2.1000", "3.1000", "4.1000"]
    assert ["coverage@20", "20.0%", "120.0%", "220.0%", "320.0%", "420.0%"] in rows
    assert ["popularity@10", "0.1", "1.1", "2.1", "3.1", "4.1"] in rows
    for head in ("popular", "item-kNN", "EASE", "val", "test", "embedding_dot_bias:"):
        assert head in text
    assert "baselines: test part" in " ".join(text.split())


def test_what_is_not_there_is_not_shown():
    without = {name: x for name, x in METRICS.items() if "ease" not in name and name[:4] != "test"}
    text = "\n".join(printed(without))
    assert "EASE" not in text
    assert "test" not in text
    assert "baselines: val part" in " ".join(text.split())
    own = {name: x for name, x in METRICS.items() if not name.startswith("baseline")}
    assert "baselines" not in "\n".join(printed(own))
    assert "NDCG" not in "\n".join(printed({"test/rmse": 0.9}))


@pytest.mark.parametrize(("own", "below"), [(0.13, True), (0.14, True), (0.15, False)])
def test_one_line_where_the_most_popular_are_not_beaten(own, below):
    metrics = {"val/ndcg@10": 0.9, "test/ndcg@10": own, "baseline/most_popular/ndcg@10": 0.14}
    line = below_most_popular(metrics, "squared_error")
    if not below:
        assert line is None
        return
    assert line.startswith(f"test NDCG@10 {own:.4f} does not beat the most popular items (0.1400)")
    assert "loss=softmax" in line
    assert "loss=softmax" not in below_most_popular(metrics, "softmax")


def test_without_a_test_part_it_is_of_the_validation_part():
    metrics = {"val/ndcg@5": 0.1, "baseline/most_popular/ndcg@5": 0.2}
    assert below_most_popular(metrics, "bpr").startswith("val NDCG@5")
    assert below_most_popular({"val/ndcg@5": 0.1}, "bpr") is None
    assert below_most_popular({"val/rmse": 0.1}, "squared_error") is None
