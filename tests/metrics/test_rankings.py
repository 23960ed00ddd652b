"""Ranking of the whole catalogue, against brute force and against torchmetrics."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_normalized_dcg, retrieval_recall

from lightning_collab.errors import DataError
from lightning_collab.metrics import rankings
from lightning_collab.metrics.rankings import rank_catalogue, ranking_of_part
from lightning_collab.models import build_model
from lightning_collab.models.rating_output import DatasetStatistics
from lightning_collab.training.build import load_data


class MadeUpScores:
    """Scores that are given."""

    def __init__(self, scores):
        self.table = torch.tensor(scores, dtype=torch.float32)
        self.items = self.table.shape[1]

    def of_users(self, users):
        return self.table[users].clone()


def made_up(seed, users=14, items=30):
    random = np.random.default_rng(seed)
    scores = MadeUpScores(random.permutation(users * items).reshape(users, items) / 100.0)
    kind = random.choice(3, size=(users, items), p=[0.7, 0.1, 0.2])
    kind[0] = 0
    seen = tuple(each.astype(np.int32) for each in np.nonzero(kind == 1))
    liked = tuple(each.astype(np.int32) for each in np.nonzero(kind == 2))
    # Some liked items are unknown to the model.
    unknown = random.random(len(liked[0])) < 0.1
    return scores, (liked[0], np.where(unknown, 0, liked[1] + 1)), (seen[0], seen[1] + 1)


def by_brute_force(scores, liked, seen, top_k):
    ndcg, recall, shown = [], [], set()
    for user in sorted(set(liked[0].tolist())):
        wanted = [int(i) for u, i in zip(*liked, strict=True) if u == user]
        left_out = {int(i) for u, i in zip(*seen, strict=True) if u == user}
        order = sorted(range(1, scores.items + 1), key=lambda i: -scores.table[user, i - 1])
        best = [item for item in order if item not in left_out][:top_k]
        shown |= set(best)
        gain = sum(1 / math.log2(2 + place) for place, i in enumerate(best) if i in wanted)
        most = sum(1 / math.log2(2 + place) for place in range(min(top_k, len(wanted))))
        ndcg.append(gain / most)
        recall.append(len(set(best) & set(wanted)) / len(wanted))
    return np.mean(ndcg), np.mean(recall), len(shown) / scores.items, len(ndcg)


@pytest.mark.parametrize("top_k", [1, 5, 30])
@pytest.mark.parametrize("block", [1 << 23, 60])
def test_the_numbers_are_those_of_brute_force_whatever_the_blocks(top_k, block, monkeypatch):
    monkeypatch.setattr(rankings, "SCORES_AT_A_TIME", block)
    for seed in range(4):
        scores, liked, seen = made_up(seed)
        found = rank_catalogue(scores, *liked, seen, top_k=top_k)
        assert tuple(found) == pytest.approx(by_brute_force(scores, liked, seen, top_k))


def test_torchmetrics_finds_the_same():
    scores, liked, seen = made_up(7)
    known = liked[1] > 0
    liked = liked[0][known], liked[1][known]
    found = rank_catalogue(scores, *liked, seen, top_k=10)
    ndcg, recall = [], []
    for user in np.unique(liked[0]):
        predicted = scores.table[user].clone()
        predicted[torch.from_numpy(seen[1][seen[0] == user]).long() - 1] = -1
        target = torch.zeros(scores.items, dtype=torch.bool)
        target[torch.from_numpy(liked[1][liked[0] == user]).long() - 1] = True
        ndcg.append(retrieval_normalized_dcg(predicted, target, top_k=10).item())
        recall.append(retrieval_recall(predicted, target, top_k=10).item())
    assert found.ndcg == pytest.approx(np.mean(ndcg), rel=1e-5)
    assert found.recall == pytest.approx(np.mean(recall), rel=1e-5)


@pytest.fixture
def measured(run_config, small_table):
    def of(*overrides, **options):
        config = run_config("split.test=0.3", *overrides)
        data = load_data(config, small_table)
        torch.manual_seed(0)
        statistics = DatasetStatistics(
            len(data.user_vocabulary), len(data.item_vocabulary), (1.0, 5.0), 3.0
        )
        model = build_model(run_config("model.init_range=1", *overrides).model, statistics).eval()
        return model, data, lambda **k: ranking_of_part(model, data, "test", **options, **k)

    return of


@pytest.mark.parametrize("name", ["embedding_dot_bias", "embedding_net", "matrix_product"])
def test_a_models_ranking_is_that_of_its_ratings_of_all_pairs(measured, name):
    from lightning_collab.data.batches import RatingBatch

    model, data, rank = measured(f"model={name}", top_k=5)
    users, items = len(data.user_vocabulary), len(data.item_vocabulary)
    pairs = np.divmod(np.arange(users * items, dtype=np.int32), items)
    batch = RatingBatch(*(torch.from_numpy(each) for each in pairs), torch.zeros(users * items))
    with torch.no_grad():
        scores = MadeUpScores(model(batch).view(users, items)[:, 1:].tolist())
    test = data.columns(data.rows.test)
    liked = test.users[test.ratings >= 4], test.items[test.ratings >= 4]
    rest = [data.columns(rows) for rows in (data.rows.train, data.rows.val)]
    seen = tuple(np.concatenate([getattr(e, side) for e in rest]) for side in ("users", "items"))
    expected = by_brute_force(scores, liked, seen, 5)
    assert tuple(rank(liked=4.0)) == pytest.approx(expected)


def test_the_threshold_and_the_number_of_items_count(measured):
    _, _, rank = measured()
    results = {rank(liked=liked, top_k=top_k) for liked, top_k in ((4.0, 5), (5.0, 5), (4.0, 6))}
    assert len(results) == 3


def test_what_cannot_be_ranked_is_refused(measured):
    _, _, rank = measured()
    with pytest.raises(DataError, match=r"no rating of 6 or more.*liked="):
        rank(liked=6.0, top_k=5)
    with pytest.raises(DataError, match="top_k=100 is more than the 20 items"):
        rank(liked=4.0, top_k=100)


def test_no_matrix_of_all_users_and_items(monkeypatch):
    """The largest block is what is set, not the whole."""
    asked = []
    scores, liked, seen = made_up(1)
    monkeypatch.setattr(rankings, "SCORES_AT_A_TIME", 2 * scores.items)
    original = scores.of_users
    scores.of_users = lambda users: asked.append(users.stop - users.start) or original(users)
    rank_catalogue(scores, *liked, seen, top_k=3)
    assert max(asked) == 2
