"""The table of accuracy: rows that can be run, honest protocols, figures of others marked."""

import pytest
from support import composed

from benchmarks.results.accuracy import RANKING_METRICS, SECTIONS, Measured, Row, markdown
from benchmarks.results.peers import Peer
from lightning_collab.config import validated

ROWS = [(section, row) for section in SECTIONS for row in section.rows]


@pytest.mark.parametrize(("section", "row"), ROWS, ids=lambda each: getattr(each, "title", ""))
def test_nothing_of_a_row_is_chosen_by_what_it_is_measured_on(section, row):
    for fold in row.folds or (None,):
        config = validated(composed(*row.overrides(42, fold)))
        assert config.callbacks.early_stopping is None
        if section.part == "test":
            assert not config.split.has_val, "all of the base trains, for a fixed number of epochs"
        else:
            assert config.split.name == "lecture"
            assert config.split.val == 0


def test_every_figure_of_others_says_where_it_is_from():
    peers = [peer for section in SECTIONS for peer in section.peers]
    assert peers
    assert all(peer.where and 0.8 < peer.rmse < 1 for peer in peers)


def test_the_table_by_hand():
    row = Row("dot product", "ml_100k_u1_embedding_dot_bias")
    ranking = [
        dict(zip(RANKING_METRICS, each, strict=True)) for each in ((0.1, 0.2, 0.3), (0.2, 0.2, 0.5))
    ]
    peers = (Peer("B", 0.93, "measured", "B 1.0"), Peer("A", 0.91, "published", "A 2020"))
    lines = markdown([Measured(row, [0.91, 0.93], ranking, 4.04)], peers).splitlines()
    assert lines[2] == (
        "| **dot product** | 0.9200 ± 0.0141 | 0.150 | 0.200 | 0.400 | 4.0 | "
        "`scripts/train.py experiment=ml_100k_u1_embedding_dot_bias` |"
    )
    assert lines[3] == "| A | 0.91 |  |  |  |  | published: A 2020 |"
    assert lines[4] == "| B | 0.93 |  |  |  |  | measured: B 1.0 |"


def test_a_row_elsewhere_changes_the_data_and_no_key_of_the_model():
    section = SECTIONS[-1]
    for row in section.rows:
        here = validated(composed(f"experiment={row.experiment}", "seed=42"))
        there = validated(composed(*row.overrides(42, None)))
        assert there.data.name == "ml_latest_small"
        for key in ("model", "optimizer", "scheduler", "trainer", "features"):
            assert getattr(there, key) == getattr(here, key)
        assert row.folder_name(None) == f"{row.experiment}-latest-small"
