"""Use of a run that learned to rank: scores, people known by what they chose, what is in stock."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from film_runs import film_table

import lightning_collab
from lightning_collab.api.trained_run import TrainedRun
from lightning_collab.errors import ConfigError
from lightning_collab.inference.export_run import export_run
from lightning_collab.inspection.comparison import compare
from lightning_collab.inspection.run_report import write_run_report
from lightning_collab.metrics.rankings import rank_part
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train

QUIET = ("callbacks.progress_bar=false", "callbacks.projector=null", "trainer=cpu")
SOFTMAX = ("loss=softmax", "loss.positives=4", "model.factors=8", "trainer.max_epochs=8")


@pytest.fixture(scope="module")
def ranked(run_config, tmp_path_factory):
    """A run by softmax on made-up films, loaded, and its data."""
    config = run_config(*QUIET, *SOFTMAX)
    data = load_data(config, film_table())
    run = RunDirectory(tmp_path_factory.mktemp("ranked") / "run")
    train(config, run, data=data)
    return lightning_collab.load(run.path), data


def raw(run, users, items):
    tables = run.model.lookup_tables()
    p = tables["embeddings"]["users"].weight[users]
    q = tables["embeddings"]["items"].weight[items]
    b, c = (tables["biases"][s].weight[r, 0] for s, r in (("users", users), ("items", items)))
    return ((p * q).sum(1) + b + c).numpy()


def test_it_knows_that_it_ranks(ranked, trained):
    run, _ = ranked
    assert run.ranks
    assert not trained.ranks
    assert "NDCG@10" in repr(run)


def test_a_prediction_is_a_raw_score(ranked):
    run, _ = ranked
    users, items = np.array([1, 2, 3, 0]), np.array([4, 5, 6, 7])
    ids = run.user_vocabulary.decode(users), run.item_vocabulary.decode(items)
    found = run.predict(*ids)
    assert found.columns == ["score", "known_user", "known_item"]
    np.testing.assert_allclose(found["score"], raw(run, users, items), rtol=1e-4, atol=1e-5)


def test_the_best_scores_come_first_without_what_was_seen(ranked):
    run, _ = ranked
    user = run.user_vocabulary.ids[4]
    found = run.recommend(user=user, top_k=8)
    rows = run.item_vocabulary.encode(found["item"])
    expected = raw(run, np.full(8, 5), rows)
    np.testing.assert_allclose(found["score"], expected, rtol=1e-4, atol=1e-5)
    assert found["score"].is_sorted(descending=True)
    seen, _ = run.history.of(5)
    assert not set(rows.tolist()) & set(seen.tolist())
    every = run.recommend_all(top_k=8).filter(pl.col("user") == user)
    assert every["item"].to_list() == found["item"].to_list()
    assert "score" in every.columns


def test_somebody_new_is_found_from_what_that_person_chose(ranked):
    """The row makes the run's own loss small: no other one does better."""
    run, _ = ranked
    items = run.item_vocabulary.ids.gather([3, 6, 9]).to_list()
    found = run.recommend(items=items, top_k=5)
    assert not set(found["item"]) & set(items)
    assert found["because_of"][0][0]["rating"] is None
    rows = np.array([4, 7, 10], dtype=np.int32)
    row = run.ranking_users.rows_of_user(run.item_scores, rows, rows[:0])["embeddings"][0]

    def objective(x):
        users = run.ranking_users
        scores = run.item_scores.of_rows({"embeddings": x[None], "biases": torch.zeros(1, 1)})
        loss = users.loss(scores, torch.zeros(3, dtype=torch.int64), torch.from_numpy(rows) - 1)
        counts = 3**users.power * users.mean_count ** (1 - users.power)
        return float(loss + users.decays["embeddings"] * counts / 2 * x.square().sum())

    best = row.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([best], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        users = run.ranking_users
        scores = run.item_scores.of_rows({"embeddings": best[None], "biases": torch.zeros(1, 1)})
        loss = users.loss(scores, torch.zeros(3, dtype=torch.int64), torch.from_numpy(rows) - 1)
        counts = 3**users.power * users.mean_count ** (1 - users.power)
        loss = loss + users.decays["embeddings"] * counts / 2 * best.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert objective(row) == pytest.approx(objective(best.detach()), abs=0.003)
    assert objective(torch.zeros_like(row)) > objective(row) + 0.05


def test_ratings_count_from_the_threshold_on(ranked):
    run, _ = ranked
    liked, disliked = run.item_vocabulary.ids[3], run.item_vocabulary.ids[8]
    both = run.recommend(ratings={liked: 5, disliked: 1}, top_k=45 - 2)
    alone = run.recommend(items=[liked], top_k=45 - 2)
    assert disliked not in both["item"]
    assert disliked in alone["item"]
    with pytest.raises(ConfigError, match=r"as high as the run's positives \(4\)"):
        run.recommend(ratings={liked: 3})


FOLDED = [("bpr", "embedding_dot_bias"), ("bce", "embedding_dot_bias"), ("bce", "embedding_net")]


@pytest.mark.parametrize(("loss", "model"), FOLDED)
def test_other_losses_and_models_fold_in_by_autograd(loss, model, run_config, tmp_path):
    """No minimiser of the same objective, written out here, gets more than 0.01% below the row."""
    typed = (f"loss={loss}", "loss.positives=4", "trainer.max_epochs=6", "model.factors=6")
    config = run_config(*QUIET, "callbacks.report=null", *typed, f"model={model}")
    run = RunDirectory(tmp_path / "run")
    train(config, run, data=load_data(config, film_table()))
    loaded = lightning_collab.load(run.path)
    items = loaded.item_vocabulary.ids.gather([3, 6, 9]).to_list()
    found = loaded.recommend(items=items, top_k=40)
    assert found["score"].is_sorted(descending=True)
    assert found["score"].is_finite().all()
    chosen = np.array([4, 7, 10], dtype=np.int32)
    rows = loaded.ranking_users.rows_of_user(loaded.item_scores, chosen, chosen[:0])
    own = torch.from_numpy(chosen).long() - 1
    others = np.setdiff1d(np.arange(loaded.item_scores.items), own)

    optimizer = loaded.config["optimizer"]
    likes = loaded.history.trained().ratings >= 4
    mean_count = likes.sum() / len(loaded.users)
    power = optimizer["frequency_power"]
    shrink = optimizer["weight_decay"] / 2 * 3**power * mean_count ** (1 - power)

    def objective(rows):
        """The loss over all other items in the mean, and the decay of a user of three choices."""
        each = loaded.item_scores.of_rows(rows)[0].double()
        if loss == "bpr":
            total = -torch.sigmoid(each[own][:, None] - each[others]).log().mean(1).sum()
        else:
            drawn = -(1 - torch.sigmoid(each[others])).log().mean()
            total = -torch.sigmoid(each[own]).log().sum() + 3 * 4 * drawn
        return total + shrink * sum(row.square().sum() for row in rows.values())

    reached = float(objective(rows))
    # From where it starts, and from where it ended: with a network there may be several minima.
    start = {group: torch.zeros_like(row) for group, row in rows.items()}
    least = min(float(objective(minimised(objective, each))) for each in (start, rows))
    assert reached == pytest.approx(least, rel=1e-4)
    assert float(objective(start)) > reached * (1 + 10 * 1e-4)


def minimised(objective, start):
    """The rows at which an objective is least near a start, by a quasi-Newton method."""
    rows = {group: row.clone().requires_grad_() for group, row in start.items()}
    search = torch.optim.LBFGS(list(rows.values()), max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        search.zero_grad()
        value = objective(rows)
        value.backward()
        return value

    search.step(closure)
    return {group: row.detach() for group, row in rows.items()}


def test_a_trained_user_is_found_again(ml_100k, run_config, tmp_path):
    """On real data: NDCG@10 of all users by rows that are found from their choices alone."""
    config = run_config(*QUIET, "callbacks.report=null", "loss=softmax", "loss.positives=4")
    data = load_data(config, ml_100k)
    run = RunDirectory(tmp_path / "run")
    train(config, run, data=data)
    loaded = TrainedRun.load(run.path, cold=False)
    chosen, rated = (data.chosen(data.rows.train, each) for each in (4.0, "all"))
    rows = torch.zeros(len(loaded.user_vocabulary), 64)
    for user in np.flatnonzero(chosen.user_counts):
        own = chosen.of_user(user)
        others = np.setdiff1d(rated.of_user(user), own).astype(np.int32)
        found = loaded.ranking_users.rows_of_user(loaded.item_scores, own, others)
        rows[user] = found["embeddings"][0]

    class Folded:
        items = loaded.item_scores.items

        def of_users(self, users, out=None):
            mine = {"embeddings": rows[users.long()], "biases": torch.zeros(len(users), 1)}
            return loaded.item_scores.of_rows(mine, out)

    both = [
        rank_part(scorer, data, "test", liked=4.0, top_k=[10])["test/ndcg@10"]
        for scorer in (loaded.item_scores, Folded())
    ]
    assert both[0] > 0.29
    assert both[1] == pytest.approx(both[0], abs=0.003)


def test_only_what_is_in_stock_is_shown(ranked, tmp_path):
    run, _ = ranked
    ids = run.item_vocabulary.ids.head(12).to_list()
    only = tmp_path / "stock.csv"
    pl.DataFrame({"sku": [*ids, 12345]}).write_csv(only)
    gone = tmp_path / "gone.parquet"
    pl.DataFrame({"item": ids[:6]}).write_parquet(gone)
    user = run.user_vocabulary.ids[2]
    shown = run.recommend(user=user, top_k=20, seen="none", only=only, exclude=gone)
    assert set(shown["item"]) == set(ids[6:])
    assert run.recommend(user=user, top_k=20, seen="none", only=ids[6:])["item"].equals(
        shown["item"]
    )
    every = run.recommend_all(top_k=20, seen="none", only=only, exclude=gone)
    assert set(every["item"]) == set(ids[6:])
    somebody = run.recommend(items=[run.item_vocabulary.ids[20]], top_k=20, only=only)
    assert set(somebody["item"]) <= set(ids)


def test_few_ratings_are_too_few(ranked, trained):
    for run in (ranked[0], trained):
        least = int(run.items["ratings"].median())
        found = run.recommend(user=run.user_vocabulary.ids[2], top_k=40, min_ratings=least)
        assert found["ratings"].min() >= least
        with pytest.raises(ConfigError, match="leave no item to recommend"):
            run.recommend(user=run.user_vocabulary.ids[2], min_ratings=10**6)


def test_of_a_run_on_ratings_items_alone_say_nothing(trained):
    with pytest.raises(ConfigError, match="learned ratings, so that somebody new is known by"):
        trained.recommend(items=[10])


def test_an_export_gives_the_scores(ranked, tmp_path):
    run, _ = ranked
    pytest.importorskip("safetensors")
    export_run(run, "safetensors", tmp_path, overwrite=False)
    card = (tmp_path / "README.md").read_text()
    assert "| ndcg@10 | " in card
    assert "RMSE" not in card
    code = card.split("```python\n")[1].split("```")[0].replace('"model.', f'"{tmp_path}/model.')
    code = code.replace('"vocabularies.json"', f'"{tmp_path}/vocabularies.json"')
    space: dict = {}
    exec(code, space)
    ids = run.user_vocabulary.ids[:5].to_list(), run.item_vocabulary.ids[:5].to_list()
    np.testing.assert_allclose(space["predict"](*ids), run.predict(*ids)["score"], rtol=1e-4)


@pytest.mark.slow
def test_a_graph_ranks_as_the_run_recommends(ranked, tmp_path):
    """Scores of all items by onnxruntime, and from them the ten best, seen ones left out or not."""
    onnxruntime = pytest.importorskip("onnxruntime")
    run, _ = ranked
    export_run(run, "onnx", tmp_path, overwrite=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [each.name for each in session.get_outputs()] == ["score"]
    vocabularies = json.loads((tmp_path / "vocabularies.json").read_text())
    item_rows = np.arange(1, len(vocabularies["items"]) + 1)
    for user in vocabularies["users"][:5]:
        row = vocabularies["users"].index(user) + 1
        pairs = {"user_row": np.full_like(item_rows, row), "item_row": item_rows}
        (scores,) = session.run(["score"], pairs)
        expected = run.predict([user] * len(item_rows), vocabularies["items"])["score"]
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
        of_user, _ = run.history.of(row)
        for seen, left_out in (("none", of_user[:0]), ("all", of_user)):
            # New items are shown where they are asked for.
            known = item_rows[: run.item_vocabulary.warm]
            open_to = np.setdiff1d(known, left_out) - 1
            best = open_to[np.argsort(-scores[open_to])][:10]
            shown = run.recommend(user=user, top_k=10, seen=seen)
            assert shown["item"].to_list() == [vocabularies["items"][each] for each in best]
            np.testing.assert_allclose(scores[best], shown["score"], rtol=1e-4, atol=1e-5)
            assert seen == "all" or len(shown) == 10


def test_the_report_shows_rankings(ranked, tmp_path):
    run, data = ranked
    page = write_run_report(run, data, None, tmp_path / "report.html").read_text()
    for text in ("Whom it serves", "NDCG@10 by activity", "by popularity of the item", "ten users"):
        assert text in page
    assert "Where it errs" not in page
    assert "RMSE" not in page


def test_a_comparison_says_which_way_is_better(ranked, film_run):
    run, rated = ranked[0], lightning_collab.load(film_run.directory.path)
    rankings = "rankings of the whole catalog; higher is better"
    page = compare([run, run])
    assert rankings in page
    assert "errors in rating units" not in page
    assert "Where they err" not in page
    both = compare([run, rated])
    assert rankings in both
    assert "errors in rating units; lower is better. " in both
    assert "Where they err" in both
    assert rankings not in compare([rated, rated])
