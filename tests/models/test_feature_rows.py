"""Features inside a model: mapped rows, their gradient, and decay on what a batch uses."""

import copy
import io

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lightning_collab.data.features import FeatureBlock, TimeEffect
from lightning_collab.models.feature_rows import FeatureRows, SelectedRows
from lightning_collab.models.time_effects import TimeEffects


def random_block(random, rows=7, width=5, name="block"):
    dense = np.where(random.random((rows, width)) < 0.4, random.normal(size=(rows, width)), 0)
    dense[0] = 0
    return FeatureBlock(name, csr_array(dense.astype(np.float32)), pl.Series(range(width)))


def rows_of(seed=0):
    random = np.random.default_rng(seed)
    blocks = [random_block(random), random_block(random, width=3)]
    dense = np.concatenate([block.matrix.toarray() for block in blocks], axis=1)
    return FeatureRows(blocks), dense


def test_blocks_stand_side_by_side_and_an_unknown_row_is_the_mean_of_the_known():
    features, dense = rows_of()
    assert features.width == 8
    assert features.matrix().toarray()[1:] == pytest.approx(dense[1:])
    assert features.matrix().toarray()[0] == pytest.approx(dense[1:].mean(0))


@given(st.integers(0, 99), st.lists(st.integers(0, 6), max_size=12))
def test_mapped_rows_and_their_gradient_are_those_of_a_dense_product(seed, ids):
    """Against torch's own dense product, whether all rows are mapped or those of the batch."""
    features, _ = rows_of(seed)
    features.double()
    dense = torch.from_numpy(features.matrix().toarray()).double()
    table = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor(ids, dtype=torch.int32)
    weight = torch.randn(len(ids), 4, dtype=torch.float64)
    found = features.select(ids).map(table)
    (gradient,) = torch.autograd.grad((found * weight).sum(), table)
    expected = dense[ids.long()] @ table
    (expected_gradient,) = torch.autograd.grad((expected * weight).sum(), table)
    assert torch.allclose(found, expected)
    assert torch.allclose(gradient, expected_gradient)


def test_few_rows_are_chosen_and_many_are_not():
    features, _ = rows_of()
    assert features.select(torch.tensor([1, 1])).features.shape[0] == 1
    assert features.select(torch.arange(7)).features.shape[0] == 7


def test_other_devices_map_by_torch_alone_to_the_same():
    """The way of a GPU, here on the CPU: no scipy in it."""
    features, _ = rows_of()
    ids = torch.tensor([1, 3, 3, 6, 0])
    table = torch.randn(8, 4, requires_grad=True)
    here, there = features.select(ids), SelectedRows(features, ids)
    everything = torch.nn.functional.embedding_bag(
        features.indices,
        table,
        features.indptr[:-1],
        mode="sum",
        per_sample_weights=features.values,
    )
    assert torch.allclose(features.map_all(table), everything, atol=1e-6)
    ours, theirs = here.weighted_squares([table]), there.weighted_squares([table])
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    one, two = torch.autograd.grad(ours, table)[0], torch.autograd.grad(theirs, table)[0]
    assert torch.allclose(one, two, atol=1e-5)


def test_a_rating_uses_a_feature_by_the_square_of_its_value():
    features, _ = rows_of()
    dense = torch.from_numpy(features.matrix().toarray())
    ids, tables = torch.tensor([2, 5, 2]), [torch.randn(8, 3), torch.randn(8, 1)]
    expected = sum(
        (dense[i].square() @ table.square().sum(1)).item() for i in ids for table in tables
    )
    assert features.select(ids).weighted_squares(tables).item() == pytest.approx(expected)


def test_a_copy_and_another_precision_have_matrices_of_their_own():
    features, _ = rows_of()
    features.matrix()
    other = copy.deepcopy(features)
    other.values.mul_(2)
    assert other.matrix().toarray() == pytest.approx(2 * features.matrix().toarray())
    features.double()
    assert features.matrix().dtype == np.float64


def test_buffers_are_all_that_a_checkpoint_needs():
    features, _ = rows_of()
    file = io.BytesIO()
    torch.save(features.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other, _ = rows_of(1)
    same = {name: value for name, value in state.items() if value.shape == other.indptr.shape}
    assert "indptr" in same
    assert int(state["width_"]) == 8


@given(st.integers(0, 99))
def test_an_effect_of_time_is_looked_up_as_the_data_finds_it(seed):
    """The model's lookup in torch against `TimeEffect.rows` in numpy."""
    from lightning_collab.data.batches import RatingBatch

    random = np.random.default_rng(seed)
    rows = random.integers(1, 5, 20).astype(np.int32)
    day = random.integers(100, 130, 20).astype(np.int32)
    effect = TimeEffect.fit("e", "items", 3, rows, day)
    model = TimeEffects([effect])
    with torch.no_grad():
        model[0].table.weight[1:] = torch.arange(1.0, len(effect.keys) + 1)[:, None]
    asked = (
        random.integers(0, 7, 50).astype(np.int32),
        random.integers(90, 140, 50).astype(np.int32),
    )
    users = torch.zeros(50, dtype=torch.int32)
    batch = RatingBatch(
        users, torch.from_numpy(asked[0]), users.float(), torch.from_numpy(asked[1])
    )
    assert model(batch)[:, 0].tolist() == effect.rows(*asked).tolist()
    assert model(batch._replace(day=None)) is None
