"""What features do in the lecture's two models."""

import math

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.features import FeatureBlock, TimeEffect
from lightning_collab.models import DatasetStatistics, build_model
from lightning_collab.models.feature_rows import features_from_buffers

NETWORKS = ("embedding_dot_bias", "embedding_net")
USERS, ITEMS = 4, 5


def block_of(dense, name="history"):
    matrix = csr_array(np.array(dense, dtype=np.float32))
    return FeatureBlock(name, matrix, pl.Series(range(matrix.shape[1])))


def facts_of(**features):
    return DatasetStatistics(USERS, ITEMS, (1.0, 5.0), 3.0, **features)


def all_features():
    half = math.sqrt(0.5)
    return {
        "user_features": (block_of([[0, 0], [1, 0], [half, half], [0, 1]]),),
        "item_features": (block_of([[0], [1], [0], [1], [0]], "film"), block_of(np.eye(5), "id")),
        "time_effects": (
            TimeEffect.fit("d", "users", 1, np.array([1, 2], np.int32), np.array([5, 6], np.int32)),
        ),
    }


def built(run_config, *overrides, features=None):
    torch.manual_seed(0)
    model = build_model(
        run_config(*overrides, "model.init_range=0.5").model,
        facts_of(**(all_features() if features is None else features)),
    )
    for effect in model.time_effects:
        torch.nn.init.normal_(effect.table.weight[1:].data)
    return model


def batch_of(users, items, day=None):
    return RatingBatch(
        torch.tensor(users, dtype=torch.int32),
        torch.tensor(items, dtype=torch.int32),
        torch.full((len(users),), 3.0),
        None if day is None else torch.tensor(day, dtype=torch.int32),
    )


def test_the_dot_product_with_history_is_svd_plus_plus_from_both_sides(run_config):
    """Koren (2008), equation 15, written out for one pair, and the same for items."""
    model = built(run_config, "model.output=linear", features={
        "user_features": (block_of([[0] * 4, [1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 1, 1]]),),
        "item_features": (block_of([[0] * 3, [1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 0, 1]]),),
    })  # fmt: skip
    y = model.feature_factors.by_side()["users"].weight
    z = model.feature_factors.by_side()["items"].weight
    c = model.feature_bias.by_side()["users"].weight
    d = model.feature_bias.by_side()["items"].weight
    p = model.user_factors.weight[3] + y[0] + y[2] + y[3]
    q = model.item_factors.weight[1] + z[0] + z[2]
    biases = (
        model.user_bias.weight[3] + c[0] + c[2] + c[3] + model.item_bias.weight[1] + d[0] + d[2]
    )
    expected = 3.0 + p @ q + biases
    assert model(batch_of([3], [1])).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_effective_tables_are_what_the_ratings_are_made_of(name, run_config):
    model = built(run_config, f"model={name}").eval()
    batch = batch_of([1, 2, 3, 0], [4, 3, 2, 1])
    rows = {
        group: (tables["users"][batch.users.long()], tables["items"][batch.items.long()])
        for group, tables in model.effective_tables().items()
    }
    assert torch.allclose(model.rate(rows, batch), model(batch), atol=1e-6)
    assert model.embedding_tables()["users"].shape == (
        USERS - 1,
        50 if name == "embedding_dot_bias" else 100,
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_the_effective_row_of_the_unknown_is_the_mean_of_the_known(name, run_config):
    model = built(run_config, f"model={name}")
    model.fill_unknown_rows()
    for tables in model.effective_tables().values():
        for table in tables.values():
            assert torch.allclose(table[0], table[1:].mean(0), atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_known_day_has_its_effect_and_any_other_has_none(name, run_config):
    model = built(run_config, f"model={name}", "model.output=linear").eval()
    known, unknown, dateless = (model(batch_of([1], [2], day)) for day in ([5], [6], None))
    effect = model.time_effects[0].table.weight[1, 0]
    assert (known - dateless).item() == pytest.approx(effect.item(), rel=1e-4)
    assert unknown.item() == dateless.item()


@pytest.mark.parametrize("name", NETWORKS)
def test_each_kind_of_feature_changes_the_ratings(name, run_config):
    batch = batch_of([1, 2], [3, 4], [5, 6])
    before = built(run_config, f"model={name}").eval()(batch)
    for dropped in all_features():
        left = {key: value for key, value in all_features().items() if key != dropped}
        other = built(run_config, f"model={name}", features=left).eval()(batch)
        assert not torch.allclose(before, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_all_parameters_learn_and_each_is_in_one_group(name, run_config):
    model = built(run_config, f"model={name}")
    grouped = [p for parameters in model.parameter_groups().values() for p in parameters]
    assert len({id(p) for p in grouped}) == len(grouped) == len(list(model.parameters()))
    for users, items, day in (([1, 2, 3], [1, 2, 3], [5, 6, 5]), ([], [], [])):
        model.zero_grad()
        model(batch_of(users, items, day)).sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        assert all(parameter.grad.any() for parameter in model.parameters()) == bool(users)


def test_per_row_decay_by_hand(run_config):
    """Each rating counts the rows of its ids once and those of its features by squared value."""
    model = built(run_config)
    batch = batch_of([2, 2], [3, 1], [6, 9])
    squares = {
        group: sum(
            each.rows.square().sum()
            if each.weights is None
            else each.weights @ each.rows.square().sum(1)
            for each in touched
        )
        for group, touched in model.touched_rows(model.embed(batch)).items()
    }
    user = model.user_factors.weight[2].square().sum()
    items = model.item_factors.weight[[3, 1]].square().sum()
    y, z = (
        model.feature_factors.by_side()[side].weight.square().sum(1) for side in ("users", "items")
    )
    mapped = (y[0] + y[1]) / 2 * 2 + z[0] + z[1 + 3] + z[0] + z[1 + 1]
    assert squares["embeddings"].item() == pytest.approx(
        (2 * user + items + mapped).item(), rel=1e-5
    )
    bias = 2 * model.user_bias.weight[2, 0] ** 2 + model.item_bias.weight[[3, 1]].square().sum()
    c, d = (model.feature_bias.by_side()[side].weight[:, 0] ** 2 for side in ("users", "items"))
    of_time = model.time_effects[0].table.weight[2, 0] ** 2
    expected = bias + c[0] + c[1] + 2 * d[0] + d[4] + d[2] + of_time
    assert squares["biases"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_alone_rebuilds_the_model(name, run_config):
    model = built(run_config, f"model={name}").eval()
    model.fill_unknown_rows()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    saved = features_from_buffers(state)
    statistics = facts_of(
        user_features=saved.users, item_features=saved.items, time_effects=saved.time
    )
    again = build_model(run_config(f"model={name}").model, statistics).eval()
    again.load_state_dict(state)
    batch = batch_of([1, 2, 3, 0], [4, 3, 0, 1], [5, 6, 7, 5])
    assert torch.equal(again(batch), model(batch))


@pytest.mark.parametrize("name", NETWORKS)
def test_features_leave_the_draw_of_the_ids_as_it_was(name, run_config):
    plain = built(run_config, f"model={name}", features={})
    told = built(run_config, f"model={name}")
    assert torch.equal(plain.user_factors.weight, told.user_factors.weight)
