import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models.embedding_net import BatchDropout


def batch(**statistics):
    return RatingBatch(torch.empty(0), torch.empty(0), torch.empty(0), **statistics)


@given(st.floats(0.05, 0.9), st.integers(0, 2**62))
def test_entries_are_zero_or_scaled_up_and_the_share_is_right(probability, seed):
    layer = BatchDropout(probability, stream=0)
    dropped = layer(torch.ones(200, 50), batch(whole_size=200, draw_seed=seed))
    values = dropped.unique()
    assert torch.allclose(values, torch.tensor([0.0, 1 / (1 - probability)]))
    assert abs((dropped == 0).float().mean().item() - probability) < 0.03


def test_the_mask_is_that_of_the_batch():
    layer = BatchDropout(0.5, stream=0)
    x = torch.ones(8, 16)
    whole = layer(x, batch(whole_size=8, draw_seed=3))
    assert torch.equal(layer(x, batch(whole_size=8, draw_seed=3)), whole)
    assert torch.equal(layer(x[:3], batch(start=5, whole_size=8, draw_seed=3)), whole[5:])
    assert not torch.equal(layer(x, batch(whole_size=8, draw_seed=4)), whole)


def test_nothing_is_dropped_when_not_training_or_with_probability_zero():
    x = torch.ones(8, 16)
    assert torch.equal(BatchDropout(0.5, stream=0).eval()(x, batch(draw_seed=1)), x)
    assert torch.equal(BatchDropout(0.0, stream=0)(x, batch(draw_seed=1)), x)
