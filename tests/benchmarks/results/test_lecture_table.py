import pytest
from support import composed

from benchmarks.results import lecture_table
from benchmarks.results.lecture_table import Measured, Row, markdown
from lightning_collab.config import validated

ROWS = (*lecture_table.LECTURE, *lecture_table.BEST, *lecture_table.ML_100K)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_every_row_is_a_valid_run(row):
    config = validated(composed(*row.overrides))
    assert config.split.has_val or row.metric.startswith("test/")


def test_the_table_gives_mean_deviation_and_command():
    row = Row("network", ("experiment=lecture_net",), published=0.78)
    text = markdown([Measured(row, [0.7, 0.8], [0.9, 1.1], 12.3)])
    head, _, line = text.splitlines()
    assert head.split(" | ")[1:4] == ["published", "best epoch", "last epoch"]
    assert "| 0.78 | 0.7500 ± 0.0707 | 1.0000 ± 0.1414 | 12 |" in line
    assert "`scripts/train.py experiment=lecture_net`" in line
