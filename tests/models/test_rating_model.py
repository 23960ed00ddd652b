"""The contract that every model keeps."""

import copy

import pytest
import torch

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import DatasetStatistics, build_model

MODELS = ("embedding_dot_bias", "embedding_net", "matrix_product", "least_squares_factors")
NETWORKS = MODELS[:2]


@pytest.fixture(params=MODELS)
def model(request, run_config):
    return built(run_config(f"model={request.param}"))


def built(config, mean_rating=3.5):
    torch.manual_seed(0)
    return build_model(config.model, DatasetStatistics(5, 7, (1.0, 5.0), mean_rating))


def batch_of(users, items, **more):
    users, items = torch.tensor(users), torch.tensor(items)
    return RatingBatch(users.int(), items.int(), torch.full((len(users),), 3.0), **more)


def test_one_rating_for_each_pair(model):
    ratings = model.eval()(batch_of([1, 2, 3], [6, 1, 1]))
    assert ratings.shape == (3,)
    assert ratings.dtype == torch.float32
    assert torch.isfinite(ratings).all()


def test_an_empty_share_gives_no_ratings_and_a_gradient_for_all(model):
    ratings = model(batch_of([], [], whole_size=1))
    ratings.sum().backward()
    assert ratings.shape == (0,)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_rating_of_a_pair_does_not_depend_on_its_company(model):
    model.eval()
    together = model(batch_of([1, 2, 3], [6, 1, 1]))
    alone = torch.cat([model(batch_of([u], [i])) for u, i in ((1, 6), (2, 1), (3, 1))])
    assert torch.allclose(together, alone)


def test_every_parameter_is_in_exactly_one_group(model):
    grouped = [p for parameters in model.parameter_groups().values() for p in parameters]
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}
    assert len(grouped) == len(list(model.parameters()))
    assert set(model.parameter_groups()) <= {"embeddings", "biases", "hidden", "output"}


def test_groups_are_those_that_the_config_names(model, run_config):
    for name in MODELS:
        config = run_config(f"model={name}").model
        assert tuple(built(run_config(f"model={name}")).parameter_groups()) == config.group_names


def test_embedding_tables_are_the_known_rows(model):
    tables = model.embedding_tables()
    assert {side: len(table) for side, table in tables.items()} == {"users": 4, "items": 6}
    weight = model.lookup_tables()["embeddings"]["items"].weight
    assert torch.equal(tables["items"], weight[1:])


def test_the_unknown_row_is_a_typical_one(model):
    before = copy.deepcopy(model.state_dict())
    model.fill_unknown_rows()
    for tables in model.lookup_tables().values():
        for table in tables.values():
            assert torch.allclose(table.weight[0], table.weight[1:].mean(0))
    changed = [
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    ]
    assert len(changed) == sum(len(tables) for tables in model.lookup_tables().values())
    for name in changed:
        assert torch.equal(model.state_dict()[name][1:], before[name][1:])


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_start_uniform_in_the_range(name, run_config):
    config = run_config(f"model={name}").model
    model = built(run_config(f"model={name}"))
    assert config.init_range == 0.01 or name not in NETWORKS, "the lecture's range"
    for tables in model.lookup_tables().values():
        for table in tables.values():
            assert table.weight.abs().max() <= config.init_range
            assert table.weight.std() > 0.3 * config.init_range
    wide = built(run_config("model.init_range=1"))
    assert wide.lookup_tables()["embeddings"]["items"].weight.abs().max() > 0.5


def test_ranks_train_the_same_network_as_one_process(model):
    whole = model(batch_of([1, 2, 3, 4], [6, 1, 1, 2], whole_size=4, draw_seed=9))
    first = model(batch_of([1, 2, 3], [6, 1, 1], whole_size=4, draw_seed=9))
    second = model(batch_of([4], [2], start=3, whole_size=4, draw_seed=9))
    assert torch.allclose(whole, torch.cat([first, second]))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_sigmoid_keeps_to_its_range_and_a_linear_output_does_not(name, run_config):
    for output, inside in (("sigmoid", True), ("linear", False)):
        config = run_config(f"model={name}", f"model.output={output}", "model.range_margin=0.25")
        model = built(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(3.0)
        rating = model(batch_of([1], [1])).item()
        assert (rating <= 5.25) == inside


@pytest.mark.parametrize("name", NETWORKS)
def test_a_linear_output_starts_at_the_mean(name, run_config):
    model = built(run_config(f"model={name}", "model.output=linear", "model.init_range=0")).eval()
    raw = model.last.bias.item() if name == "embedding_net" else 0.0
    if name == "embedding_net":
        with torch.no_grad():
            model.last.weight.zero_()
    assert model(batch_of([1], [1])).item() == pytest.approx(3.5 + raw)
