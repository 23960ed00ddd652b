"""Effects of time as a model looks them up."""

import numpy as np
import torch

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.features.build import TimeEffect
from lightning_collab.models.embedding_table import PeriodEffect


def test_a_model_knows_the_pairs_that_training_has_and_no_others():
    rows, day = np.array([1, 1, 2, 2], np.int32), np.array([10, 12, 10, 19], np.int32)
    effect = PeriodEffect(TimeEffect.fit("item_days", "items", 2, rows, day))
    pairs = [(1, 0), (1, 1), (2, 0), (2, 4)]
    # Row 3 before the first day would be row 2 in its last period, row 1 after it row 2.
    asked = [(row, when) for row in range(5) for when in range(-5, 35)]
    items, days = torch.tensor(asked, dtype=torch.int32).T
    found = effect.pairs(RatingBatch(items * 0, items, items * 0.0, day=days))
    known = [(row, (when - 10) // 2) for row, when in asked]
    assert found.tolist() == [1 + pairs.index(pair) if pair in pairs else 0 for pair in known]
