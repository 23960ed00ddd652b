"""Models with rows for ids that they never saw."""

import numpy as np
import pytest
import torch
from film_runs import NEVER_RATED

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import cold_rows
from lightning_collab.models.cold_rows import ColdSide, extended
from lightning_collab.models.row_map import fit_row_map
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.cold_rows import fitted_cold_rows

MODELS = {
    "dot_bias": (),
    "dot_bias_features": ("features=everything", "~features.time"),
    "net": ("model=embedding_net",),
    "net_features": ("model=embedding_net", "features=everything", "~features.time"),
    "matrix_product": ("model=matrix_product",),
    "least_squares": ("model=least_squares_factors",),
}


@pytest.fixture(params=MODELS)
def made(request, film_run, run_config):
    """A model, its data, and what is made of film 99, which nobody rated."""
    config = run_config("data=synthetic", "data.timestamps=true", *MODELS[request.param])
    data = load_data(
        config.model_copy(update={"split": film_run.config.split}), film_run.data.table
    )
    model = build_module(config, data).model.eval()
    with torch.no_grad():
        # Rows that follow from the genre, of which there are three in turn.
        items = model.lookup_tables()["embeddings"]["items"].weight
        items += torch.randn(3, items.shape[1])[torch.arange(len(items)) % 3]
        model.fill_unknown_rows()
    return model, data, fitted_cold_rows(model, data)


def pairs(users, items):
    users, items = torch.meshgrid(torch.tensor(users), torch.tensor(items), indexing="ij")
    ids = users.flatten().int(), items.flatten().int()
    return RatingBatch(*ids, torch.zeros(len(ids[0])))


def test_what_is_said_of_its_own_ids_stays_the_same(made):
    model, data, cold = made
    grown = extended(model, cold).eval()
    batch = pairs(range(1, 20), range(1, 45))
    torch.testing.assert_close(grown(batch), model(batch), rtol=0, atol=1e-6)
    assert len(model.lookup_tables()["embeddings"]["items"].weight) == len(data.item_vocabulary)


def test_a_film_that_nobody_rated_has_a_row_by_its_genre(made):
    model, data, cold = made
    assert cold["items"].ids.to_list() == [NEVER_RATED]
    assert len(cold["users"].ids) == 0
    grown = extended(model, cold).eval()
    new = len(data.item_vocabulary)
    found = grown(pairs(range(1, 20), [new, 0]))
    assert torch.isfinite(found).all()
    rows = grown.effective_tables()["embeddings"]["items"]
    assert len(rows) == new + 1
    assert not torch.equal(rows[new], rows[0])
    # Its rows are those of the map, or with the model's own features beside them.
    width = cold["items"].widths["embeddings"]
    np.testing.assert_allclose(rows[new, :width], cold["items"].rows[0, :width], atol=1e-5)


def test_the_unknown_row_is_the_mean_by_ratings(made):
    model, data, cold = made
    grown = extended(model, cold)
    counts = data.training_counts()["items"][1:].astype(np.float64)
    whole = model.adds_mapped
    tables = (
        model.effective_tables()
        if whole
        else {
            group: {side: table.weight for side, table in tables.items()}
            for group, tables in model.lookup_tables().items()
        }
    )
    rows = tables["embeddings"]["items"][1:].detach().double().numpy()
    found = grown.effective_tables()["embeddings"]["items"][0, : rows.shape[1]]
    np.testing.assert_allclose(found, counts @ rows / counts.sum(), atol=1e-5)
    # No later filling takes it back.
    before = grown.lookup_tables()["embeddings"]["items"].weight[0].clone()
    grown.fill_unknown_rows()
    assert torch.equal(grown.lookup_tables()["embeddings"]["items"].weight[0], before)


def test_what_is_kept_is_what_was_made(made):
    model, _, cold = made
    again = {side: ColdSide.from_state(each.state()) for side, each in cold.items()}
    batch = pairs(range(0, 20), range(0, 47))
    one, two = (extended(model, each).eval()(batch) for each in (cold, again))
    assert torch.equal(one, two)


def test_ids_that_are_added_later_get_the_rows_that_they_would_have_had(made):
    _, data, cold = made
    films = data.table.item_features
    copy = films.filter(films["item"] == NEVER_RATED)
    with_copy = cold["items"].with_ids(copy.with_columns(item=copy["item"] - 90))
    assert with_copy.ids.to_list() == [NEVER_RATED - 90, NEVER_RATED]
    np.testing.assert_array_equal(with_copy.rows[0], with_copy.rows[1])


def test_rows_that_learned_choices_count_by_the_root_of_their_numbers(
    film_run, run_config, monkeypatch
):
    counted = []

    def fit(features, rows, weights, metric=None):
        counted.append(weights)
        return fit_row_map(features, rows, weights, metric)

    monkeypatch.setattr(cold_rows, "fit_row_map", fit)
    config = run_config("data=synthetic", "data.timestamps=true")
    config = config.model_copy(update={"split": film_run.config.split})
    data = load_data(config, film_run.data.table)
    counts = data.training_counts()["items"][1:]
    model = build_module(config, data).model.eval()
    for learns_ratings, expected in ((True, counts), (False, np.sqrt(counts))):
        counted.clear()
        fitted_cold_rows(model, data, learns_ratings=learns_ratings)
        assert any(np.array_equal(each, expected) for each in counted)
