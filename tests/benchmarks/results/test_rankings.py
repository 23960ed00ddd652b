"""The table of rankings: rows that can be run, and cells by hand."""

import pytest
from support import composed

from benchmarks.results import rankings
from benchmarks.results.rankings import NET, PROTOCOLS, ROWS, Measured, markdown, measure
from lightning_collab.config import validated
from lightning_collab.config.registry import MODELS

THERE = [row for row in ROWS if row.model in MODELS.names]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda each: each.name)
@pytest.mark.parametrize("row", THERE, ids=lambda each: each.name)
def test_every_row_is_a_run_that_ranks(protocol, row):
    config = validated(composed(*protocol.overrides(row), f"{protocol.seed_key}=43"))
    assert config.ranks
    assert config.model.name == row.model
    assert config.liked == ("all" if protocol.name == "recbole" else 4)
    seed = config.seed if protocol.seed_key == "seed" else config.split.seed
    assert seed == 43


def test_the_network_is_that_of_its_experiment():
    typed = validated(composed("experiment=ml_100k_ranking", *NET))
    assert typed == validated(composed("experiment=ml_100k_ranking_net"))


def test_rows_are_runs_over_seeds_and_baselines_are_of_the_first(monkeypatch, tmp_path):
    asked = []

    def run(folder, *overrides):
        asked.append((folder.relative_to(tmp_path), overrides))
        seed = int(overrides[-1].split("=")[1])
        ours = {f"test/{name}@10": seed + len(overrides) for name in rankings.METRICS}
        theirs = {
            f"baseline/{key}/{name}@10": seed / 100
            for key in rankings.BASELINES
            for name in rankings.METRICS
        }
        return {**ours, **theirs, "fit_seconds": seed}, []

    monkeypatch.setattr(rankings, "measured_run", run)
    found = list(measure(PROTOCOLS[2], tmp_path, 2))
    assert [each.title for each in found[:3]] == list(rankings.BASELINES.values())
    assert found[0].numbers["ndcg"] == [0.42, 0.43]
    assert found[0].seconds is None
    softmax, bce = found[3:5]
    # Four of the protocol, its seed, and one more of the row.
    assert softmax.numbers["recall"] == [42 + 5, 43 + 5]
    assert bce.numbers["recall"] == [42 + 6, 43 + 6]
    assert bce.seconds == 42.5
    assert asked[0][0].parts == ("ranking", "u1", "softmax", "seed-42")
    assert bce.command == f"`scripts/train.py {' '.join(PROTOCOLS[2].typed)} loss=bce`"


def test_the_table_by_hand():
    numbers = {"ndcg": [0.3, 0.32], "recall": [0.1, 0.3], "mrr": [0.5, 0.5], "coverage": [0.2, 0.1]}
    lines = markdown([Measured("A", numbers, 1.26, "`a`"), Measured("B", numbers, None, "b")])
    assert lines.splitlines()[2:] == [
        "| A | 0.3100 ± 0.0141 | 0.200 | 0.500 | 15.0% | 1.3 | `a` |",
        "| B | 0.3100 ± 0.0141 | 0.200 | 0.500 | 15.0% |  | b |",
    ]
