"""Features inside a model: mapped rows, their gradient, decay on what is used, left-out ids."""

import copy
import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from film_runs import NEVER_RATED, film_table
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.features import FeatureBlock, TimeEffect
from lightning_collab.errors import DataError
from lightning_collab.models.cold_rows import extended
from lightning_collab.models.embedding_table import TimeEffects
from lightning_collab.models.feature_rows import (
    FIRST,
    GOLDEN,
    BagProduct,
    FeatureRows,
    SelectedRows,
    uniform,
)
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.cold_rows import fitted_cold_rows


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
    ours, theirs = (each.uses() @ table.square().sum(1) for each in (here, there))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    one, two = torch.autograd.grad(ours, table)[0], torch.autograd.grad(theirs, table)[0]
    assert torch.allclose(one, two, atol=1e-5)


def test_on_a_gpu_the_entries_of_few_rows_map_as_all_do():
    features, _ = rows_of()
    ids = torch.tensor([1, 3, 3, 6, 0])
    table = torch.randn(8, 4, requires_grad=True)
    all_of, chosen = (
        SelectedRows(features, ids),
        SelectedRows(features.entries_of(ids), torch.arange(5)),
    )
    bag = torch.nn.functional.embedding(ids, torch.as_tensor(features.matrix().toarray()) @ table)
    assert torch.allclose(chosen.map(table), bag, atol=1e-6)
    weights = torch.randn(5, 4)
    one, two = (
        torch.autograd.grad((each.map(table) * weights).sum(), table)[0]
        for each in (all_of, chosen)
    )
    assert torch.allclose(one, two, atol=1e-5)
    assert torch.allclose(all_of.uses(), chosen.uses(), atol=1e-5)


def test_on_a_gpu_products_and_their_gradient_need_no_sorting():
    features, _ = rows_of()
    table = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
    features.double()
    bags, by_column = features._bags(), features._transposed()
    assert torch.allclose(
        BagProduct.apply(table, bags, by_column),
        torch.from_numpy(features.matrix().toarray()) @ table,
    )
    assert torch.autograd.gradcheck(lambda t: BagProduct.apply(t, bags, by_column), table)


def test_a_rating_uses_a_feature_by_the_square_of_its_value():
    features, _ = rows_of()
    dense = torch.from_numpy(features.matrix().toarray())
    ids, tables = torch.tensor([2, 5, 2]), [torch.randn(8, 3), torch.randn(8, 1)]
    expected = sum(
        (dense[i].square() @ table.square().sum(1)).item() for i in ids for table in tables
    )
    uses = features.select(ids).uses()
    found = sum((uses @ table.square().sum(1)).item() for table in tables)
    assert found == pytest.approx(expected)


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


DROPPING = (
    *("data=synthetic", "data.timestamps=true", "features=everything", "~features.time"),
    *("features.id_dropout=0.4", "model.init_range=0.5"),
)
NETWORKS = pytest.mark.parametrize("name", ["embedding_dot_bias", "embedding_net"])
BATCH = RatingBatch(
    torch.arange(1, 41, dtype=torch.int32),
    torch.arange(1, 41, dtype=torch.int32),
    torch.full((40,), 3.0),
    draw_seed=5,
)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1))
def test_the_numbers_are_those_of_splitmix64(seed, number):
    """In Python's own integers; so that ranks and later versions leave out the same ids."""
    bits = 2**64 - 1
    state = ((number + 1) * int(GOLDEN) + seed * int(FIRST)) & bits
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & bits
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & bits
    state ^= state >> 31
    assert uniform(torch.tensor([number]), seed).item() == (state >> 11) / 2**53


def made(run_config, *overrides):
    config = run_config(*DROPPING, "split.val=0.1", "split.test=0", *overrides)
    data = load_data(config, film_table())
    return build_module(config, data).model, data


@given(st.integers(0, 2**63 - 1), st.floats(0.05, 0.95))
def test_the_share_is_left_out_and_other_steps_leave_out_others(seed, share):
    ids = torch.arange(1, 20_001, dtype=torch.int32)
    first, second = uniform(ids, seed) < share, uniform(ids, seed + 1) < share
    spread = np.sqrt(share * (1 - share) / len(ids))
    assert abs(first.double().mean() - share) < 5 * spread
    # Independent of one another, so that both at once are share squared.
    both = share**2
    assert abs((first & second).double().mean() - both) < 5 * np.sqrt(both * (1 - both) / len(ids))
    assert torch.equal(uniform(ids.flip(0), seed).flip(0), uniform(ids, seed))
    assert uniform(ids, seed).min() >= 0
    assert uniform(ids, seed).max() < 1


@NETWORKS
def test_of_an_item_left_out_only_what_a_new_one_would_have_is_left(name, run_config):
    model, data = made(run_config, f"model={name}", *dropless(name))
    model.train()
    left_out = model.item_dropout.left_out(BATCH.items, BATCH.draw_seed)
    assert 5 < left_out.sum() < 35
    found = model(BATCH)
    model.eval()
    whole = model(BATCH)
    torch.testing.assert_close(found[~left_out], whole[~left_out])
    assert not torch.isclose(found[left_out], whole[left_out]).any()
    # The same films without a row of their own and without a history.
    history = data.features.items[0]
    assert history.name == "history"
    with torch.no_grad():
        for tables in model.lookup_tables().values():
            tables["items"].weight.zero_()
        features = model.item_features
        of_history = features.indices < history.matrix.shape[1]
        features.values[of_history] = 0
    torch.testing.assert_close(found[left_out], model(BATCH)[left_out])


def dropless(name):
    if name != "embedding_net":
        return ()
    return ("model.embedding_dropout=0", "model.hidden_dropout=0")


def test_an_item_is_left_out_wherever_it_is_compared(run_config):
    """The catalogue that softmax looks at, and the pairs of the other losses."""
    model, _ = made(run_config)
    model.train()
    everyone = model.embed_all("items", 5).rows["embeddings"]
    ids = torch.tensor([3, 7, 7, 30])
    torch.testing.assert_close(
        model.embed_side("items", ids, 4, 5).rows["embeddings"], everyone[ids - 1]
    )
    other = model.embed_all("items", 6).rows["embeddings"]
    assert not torch.equal(everyone, other)
    # Users keep their rows.
    users = model.embed_side("users", ids, 4, 5).rows["embeddings"]
    model.eval()
    torch.testing.assert_close(users, model.embed_side("users", ids, 4, 5).rows["embeddings"])


def test_a_checkpoint_has_no_second_copy_of_the_features(run_config):
    model, _ = made(run_config)
    assert not [name for name in model.state_dict() if "dropout" in name]


@NETWORKS
def test_a_new_item_has_the_rows_that_the_features_learned(name, run_config):
    model, data = made(run_config, f"model={name}")
    model.fill_unknown_rows()
    cold = fitted_cold_rows(model.eval(), data)
    assert cold["items"].ids.to_list() == [NEVER_RATED]
    grown = extended(model, cold).eval()
    new = len(data.item_vocabulary)
    rows = grown.effective_tables()["embeddings"]["items"][new]
    table = model.mapping_tables()["embeddings"]["items"].weight
    places, start = [], 0
    film = film_table().item_features.filter(pl.col("item") == NEVER_RATED)
    for block in data.features.items:
        column = film[block.encoder.column] if block.encoder.column else None
        entries = block.encoder.encode(column, 1).toarray()[0]
        places.append(torch.from_numpy(entries) @ table[start : start + block.encoder.width])
        start += block.encoder.width
    # Genre, year and the intercept; of a history there is none.
    assert len(places) == 4
    assert not places[0].any()
    own = rows[: len(rows) - table.shape[1]]
    assert not own.any(), "beside its features it has nothing of its own"
    torch.testing.assert_close(rows[len(own) :], sum(places), rtol=1e-4, atol=1e-5)
    # What further items need are columns of a table, and no history or intercept.
    assert set(cold["items"].columns()) == {"genres", "year"}
    assert cold["items"].without_values(film.with_columns(year=None)) == ["year"]


def test_data_that_says_nothing_of_items_is_refused(run_config):
    config = run_config(*DROPPING, "split.val=0.1", "split.test=0")
    table = film_table()
    with pytest.raises(DataError, match=r"features\.id_dropout: .*nothing about items"):
        load_data(config, replace(table, item_features=None))
