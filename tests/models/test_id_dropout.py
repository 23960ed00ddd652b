"""Items whose own rows are left out in a step."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from film_runs import NEVER_RATED, film_table
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.data.batches import RatingBatch
from lightning_collab.errors import DataError
from lightning_collab.models.cold_rows import extended
from lightning_collab.models.id_dropout import FIRST, GOLDEN, uniform
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.cold_rows import fitted_cold_rows

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
