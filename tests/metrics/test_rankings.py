"""Rankings of the whole catalog: by hand, by plain Python, and by torchmetrics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed
from torchmetrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_hit_rate,
    retrieval_normalized_dcg,
    retrieval_precision,
    retrieval_recall,
    retrieval_reciprocal_rank,
)

from lightning_collab.config.model import MEANS_OVER_USERS, RANKING_METRICS
from lightning_collab.data import ranking_batches
from lightning_collab.data.ranking_batches import Choices, RankingBatches
from lightning_collab.errors import DataError
from lightning_collab.metrics.rankings import RankingMetrics, first_of_sorted, rank_part, rank_users
from lightning_collab.models import build_model
from lightning_collab.models.rating_output import DatasetStatistics
from lightning_collab.training.build import load_data


class MadeUpScores:
    """Scores that are given, with a row for the unknown user."""

    def __init__(self, scores):
        self.table = torch.tensor(np.asarray(scores), dtype=torch.float32)
        self.items = self.table.shape[1]

    def of_users(self, users, out=None):
        return self.table[users.long()].clone()


def choices(pairs, users, items):
    columns = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    return Choices.of(*columns, user_rows=users, item_rows=items + 1)


def rank(scores, seen, liked, top_k, item_counts=None, seed=0, **options):
    """Rank by a table; `seen` and `liked` are pairs of rows."""
    users, items = np.shape(scores)
    parts = (choices(pairs, users, items) for pairs in (seen, liked))
    counts = np.arange(items) if item_counts is None else np.array(item_counts)
    batches = RankingBatches(*parts, **options)
    return rank_users(MadeUpScores(scores), batches, "", top_k, counts, seed)


def test_one_user_by_hand():
    # Shown in this order: items 2, 1, 4, 3; item 5 is seen. Liked: 1, 4 and an unknown one.
    scores = [[0] * 5, [3, 4, 1, 2, 9]]
    found = rank(scores, [(1, 5)], [(1, 1), (1, 4), (1, 0)], [1, 3], item_counts=[7, 5, 3, 2, 1])
    second, third = 1 / math.log2(3), 1 / math.log2(4)
    assert found == pytest.approx(
        {
            "ndcg@1": 0,
            "ndcg@3": (second + third) / (1 + second + third),
            "recall@1": 0,
            "recall@3": 2 / 3,
            "precision@1": 0,
            "precision@3": 2 / 3,
            "mrr@1": 0,
            "mrr@3": 1 / 2,
            "hit_rate@1": 0,
            "hit_rate@3": 1,
            "map@1": 0,
            "map@3": (1 / 2 + 2 / 3) / 3,
            "coverage@1": 1 / 5,
            "coverage@3": 3 / 5,
            "mean_popularity@1": 5,
            "mean_popularity@3": (5 + 7 + 2) / 3,
            # Counts 0 0 0 0 1 and 0 0 1 1 1.
            "gini@1": 4 / 5,
            "gini@3": (0 + 2 + 4) / (5 * 3),
        },
        rel=1e-6,
    )


def test_what_is_best_is_divided_by_is_the_least_of_k_and_liked():
    liked = [(1, item) for item in (1, 2, 3)]
    found = rank([[0] * 4, [4, 3, 2, 1]], [], liked, [2, 4])
    for name in ("ndcg@2", "map@2", "ndcg@4", "map@4", "precision@2", "recall@4"):
        assert found[name] == 1
    assert found["recall@2"] == pytest.approx(2 / 3)
    assert found["precision@4"] == pytest.approx(3 / 4)


def in_plain_python(scores, seen, liked, top_k, item_counts):
    """The formulas of the documentation, one user and one place after the other."""
    items = len(scores[0])
    per_user = {f"{name}@{k}": [] for name in MEANS_OVER_USERS for k in top_k}
    shown = {k: [0] * items for k in top_k}
    for user in sorted({u for u, _ in liked if u}):
        wanted = [i for u, i in liked if u == user]
        hidden = {i for u, i in seen if u == user}
        order = sorted(set(range(1, items + 1)) - hidden, key=lambda i: -scores[user][i - 1])
        for k in top_k:
            best = order[:k]
            for item in best:
                shown[k][item - 1] += 1
            hits = [place for place, item in enumerate(best, 1) if item in wanted]
            most = min(k, len(wanted))
            gain = sum(1 / math.log2(1 + place) for place in hits)
            ideal = sum(1 / math.log2(1 + place) for place in range(1, most + 1))
            precisions = [number / place for number, place in enumerate(hits, 1)]
            of_user = {
                "ndcg": gain / ideal,
                "recall": len(hits) / len(wanted),
                "precision": len(hits) / k,
                "mrr": 1 / hits[0] if hits else 0,
                "hit_rate": float(bool(hits)),
                "map": sum(precisions) / most,
            }
            for name, value in of_user.items():
                per_user[f"{name}@{k}"].append(value)
    found = {name: sum(values) / len(values) for name, values in per_user.items()}
    for k, counts in shown.items():
        total = sum(counts)
        found[f"coverage@{k}"] = sum(count > 0 for count in counts) / items
        popularity = sum(c * n for c, n in zip(counts, item_counts, strict=True))
        found[f"mean_popularity@{k}"] = popularity / max(1, total)
        differences = sum(abs(a - b) for a in counts for b in counts)
        found[f"gini@{k}"] = differences / max(1, 2 * items * total)
    return found


@st.composite
def cases(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users, items = draw(st.integers(2, 7)), draw(st.integers(1, 12))
    scores = random.permutation(users * items).reshape(users, items) / 8
    kinds = random.choice(3, size=(users, items), p=[0.5, 0.3, 0.2])
    seen = [(int(u), int(i) + 1) for u, i in zip(*np.nonzero(kinds == 1), strict=True)]
    # Some liked items are unknown to the model, some pairs are those of an unknown user.
    unknown = random.random((users, items)) < 0.2
    liked = [
        (int(u), 0 if unknown[u, i] else int(i) + 1)
        for u, i in zip(*np.nonzero(kinds == 2), strict=True)
    ]
    liked.append((users - 1, 0))
    top_k = sorted(draw(st.sets(st.integers(1, items), min_size=1, max_size=3)))
    return scores.tolist(), seen, liked, top_k, random.integers(0, 9, items).tolist()


@given(cases(), st.sampled_from([1, 30, 1 << 23]))
def test_the_numbers_are_those_of_plain_python_whatever_the_blocks(case, memory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking_batches, "SCORES_AT_A_TIME", memory)
        found = rank(*case)
    assert found == pytest.approx(in_plain_python(*case), rel=1e-5, abs=1e-6)
    assert len(found) == len(case[3]) * len(RANKING_METRICS)


def test_torchmetrics_finds_the_same():
    random = np.random.default_rng(5)
    scores = random.permutation(20 * 30).reshape(20, 30) / 8
    wanted = random.random((20, 30)) < 0.2
    liked = [(int(u), int(i) + 1) for u, i in zip(*np.nonzero(wanted), strict=True) if u]
    found = rank(scores, [], liked, [5])
    functions = {
        "ndcg": retrieval_normalized_dcg,
        "recall": retrieval_recall,
        "precision": retrieval_precision,
        "mrr": retrieval_reciprocal_rank,
        "hit_rate": retrieval_hit_rate,
    }
    users = sorted({user for user, _ in liked})
    for name, function in functions.items():
        each = [
            function(torch.tensor(scores[u]), torch.from_numpy(wanted[u]), top_k=5) for u in users
        ]
        assert found[f"{name}@5"] == pytest.approx(float(np.mean(each)), rel=1e-5)
    # torchmetrics divides by the hits among the first k; over all items both divide by the liked.
    each = [
        retrieval_average_precision(torch.tensor(scores[u]), torch.from_numpy(wanted[u]))
        for u in users
    ]
    assert rank(scores, [], liked, [30])["map@30"] == pytest.approx(float(np.mean(each)), rel=1e-5)


def test_shares_of_the_users_add_up():
    """Two ranks, whose sums torchmetrics adds."""
    random = np.random.default_rng(0)
    scores = random.normal(size=(30, 12))
    pairs = [(u, i) for u in range(30) for i in range(13) if random.random() < 0.2]
    liked = choices(pairs, 30, 12)
    whole, *shares = (RankingMetrics("", [3, 5], np.arange(12), 0) for _ in range(3))
    for rank_number, metrics in enumerate(shares):
        for batch in RankingBatches(choices([], 30, 12), liked, rank=rank_number, world_size=2):
            metrics.update(MadeUpScores(scores).of_users(batch.users), batch)
    for batch in RankingBatches(choices([], 30, 12), liked):
        whole.update(MadeUpScores(scores).of_users(batch.users), batch)
    shares[0].merge_state(shares[1])
    alone, both = whole.compute(), shares[0].compute()
    assert alone.keys() == both.keys()
    assert {k: float(v) for k, v in both.items()} == pytest.approx(
        {k: float(v) for k, v in alone.items()}, rel=1e-6
    )
    assert int(shares[0].users) == int(whole.users) > 20
    torch.testing.assert_close(shares[0].exposure, whole.exposure)


def test_all_users_are_ranked_without_a_word_to_other_ranks(monkeypatch, tmp_path):
    """NCCL has no sums of what is on the CPU, and other ranks would add the same users again."""

    def refuse(*_, **__):
        raise RuntimeError("No backend type associated with device type cpu")

    scores = np.random.default_rng(0).normal(size=(4, 6))
    alone = rank(scores, [], [(1, 2), (3, 4)], [2])
    distributed.init_process_group("gloo", f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        monkeypatch.setattr(distributed, "all_gather", refuse)
        assert rank(scores, [], [(1, 2), (3, 4)], [2]) == alone
    finally:
        distributed.destroy_process_group()


def test_an_empty_block_changes_nothing():
    metrics = RankingMetrics("val/", [2], np.arange(4), 0)
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metrics.compute() == {}
    liked = choices([(1, 2)], 3, 4)
    empty, full = (
        next(iter(RankingBatches(choices([], 3, 4), liked, rank=r, world_size=2))) for r in (0, 1)
    )
    assert len(empty.users) == 0
    metrics.update(torch.empty(0, 4), empty)
    assert int(metrics.users) == 0
    metrics.reset()
    metrics.update(torch.tensor([[1.0, 2.0, 0.0, 0.0]]), full)
    metrics.update(torch.empty(0, 4), empty)
    assert float(metrics.compute()["val/mrr@2"]) == 1


LIKED_FIRST, LIKED_LAST = [(1, 1), (1, 2)], [(1, 49), (1, 50)]


@pytest.mark.parametrize("liked", [LIKED_FIRST, LIKED_LAST])
def test_a_constant_score_is_worth_a_random_list_wherever_the_liked_items_stand(liked):
    scores = np.zeros((2, 50))
    found = [rank(scores, [], liked, [10], seed=seed) for seed in range(300)]
    # 10 of 50 are shown: 0.4 of the two are hit in the mean.
    assert np.mean([each["precision@10"] for each in found]) == pytest.approx(0.04, abs=0.006)
    assert np.mean([each["recall@10"] for each in found]) == pytest.approx(0.2, abs=0.03)


def test_the_order_of_equal_scores_is_that_of_the_seed():
    scores = np.round(np.random.default_rng(0).normal(size=(40, 60)))
    liked = [(user, 1 + user) for user in range(1, 40)]
    first = rank(scores, [], liked, [5], seed=1)
    assert rank(scores, [], liked, [5], seed=1) == first
    assert rank(scores, [], liked, [5], seed=2) != first


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 7, 25])
def test_torch_alone_shows_the_same(ties, k):
    """As on a GPU: equal but for the order of equal scores."""
    random = np.random.default_rng(1)
    table = random.normal(size=(20, 25)).astype(np.float32)
    table[3, 5], table[4, 6], table[5] = np.nan, np.inf, -np.inf
    if ties:
        table = np.round(table)
    pairs = [(u, i) for u in range(20) for i in range(1, 26) if random.random() < 0.3]
    liked = choices([(u, 1) for u in range(20)], 20, 25)
    (batch,) = RankingBatches(choices(pairs, 20, 25), liked)
    metrics = RankingMetrics("", [k], np.arange(25), 3)
    rows = torch.from_numpy(table)[batch.users.long()]
    by_kernel, scores = metrics._first(rows.clone(), batch), rows.clone()
    by_torch = first_of_sorted(scores, batch, k, metrics.order)
    if not ties:
        assert by_torch.tolist() == by_kernel.tolist()
    padded = torch.cat([torch.full((len(rows), 1), -torch.inf), scores], dim=1)
    of_kernel, of_torch = (padded.gather(1, x.long() + 1) for x in (by_kernel, by_torch))
    torch.testing.assert_close(of_kernel, of_torch)
    assert all(len(set(row) - {-1}) == sum(i >= 0 for i in row) for row in by_torch.tolist())


def test_a_block_is_measured_where_its_scores_are():
    """The device `meta` refuses whatever is on another one."""
    pairs = choices([(1, 2), (2, 3)], 3, 5)
    (batch,) = RankingBatches(pairs, pairs, device="meta")
    metrics = RankingMetrics("", [2, 4], np.arange(5), 0).to("meta")
    metrics.update(torch.empty(2, 5, device="meta"), batch)
    assert {metrics.sums.device.type, metrics.exposure.device.type} == {"meta"}


def test_nothing_is_shown_that_is_minus_infinity_or_seen():
    scores = [[0] * 3, [-np.inf, 2, 1]]
    found = rank(scores, [(1, 2)], [(1, 1), (1, 2)], [3])
    assert found["hit_rate@3"] == 0
    assert found["coverage@3"] == pytest.approx(1 / 3)


def test_metrics_go_with_their_module_to_a_device_and_in_no_checkpoint():
    metrics = RankingMetrics("", [2], np.arange(4), 0)
    assert metrics.state_dict() == {}
    moved = metrics.to("meta")
    assert {moved.order.device.type, moved.item_counts.device.type, moved.sums.device.type} == {
        "meta"
    }


@pytest.fixture
def measured(run_config, small_table):
    def of(*overrides):
        config = run_config("split.test=0.3", "split.val=0.2", *overrides)
        data = load_data(config, small_table)
        torch.manual_seed(0)
        statistics = DatasetStatistics(
            len(data.user_vocabulary), len(data.item_vocabulary), (1.0, 5.0), 3.0
        )
        model = build_model(run_config("model.init_range=1", *overrides).model, statistics).eval()
        return model, data

    return of


@pytest.mark.parametrize("name", ["embedding_dot_bias", "embedding_net", "matrix_product"])
@pytest.mark.parametrize(("part", "left_out"), [("val", ["train"]), ("test", ["train", "val"])])
@pytest.mark.parametrize("liked", [4.0, "all"])
def test_a_models_ranking_is_that_of_its_ratings_of_all_pairs(
    measured, name, part, left_out, liked
):
    """At validation the test part is not looked at, not even to leave it out."""
    from lightning_collab.data.batches import RatingBatch

    model, data = measured(f"model={name}")
    users, items = len(data.user_vocabulary), len(data.item_vocabulary)
    pairs = np.divmod(np.arange(users * items, dtype=np.int32), items)
    batch = RatingBatch(*(torch.from_numpy(each) for each in pairs), torch.zeros(users * items))
    with torch.no_grad():
        scores = model(batch).view(users, items)[:, 1:].tolist()

    def pairs_of(part, least=0.0):
        columns = data.columns(getattr(data.rows, part))
        return [
            (int(u), int(i))
            for u, i, r in zip(columns.users, columns.items, columns.ratings, strict=True)
            if r >= least
        ]

    wanted = pairs_of(part, 0.0 if liked == "all" else liked)
    # Disliked items are left out as well.
    seen = [pair for each in left_out for pair in pairs_of(each)]
    train = data.columns(data.rows.train)
    counts = np.bincount(train.items[train.ratings >= 3], minlength=items)[1:]
    expected = in_plain_python(scores, seen, wanted, [2, 5], counts)
    found = rank_part(
        model.item_scores(), data, part, liked=liked, top_k=[2, 5], positives=3.0, seed=1
    )
    assert found == pytest.approx(
        {f"{part}/{key}": value for key, value in expected.items()}, rel=1e-5
    )


def test_a_sample_of_users(measured):
    model, data = measured()
    scores = model.item_scores()
    asked = []
    original = scores.of_users
    scores.of_users = lambda users, out=None: asked.append(users.tolist()) or original(users, out)
    for seed in (1, 1, 2):
        rank_part(scores, data, "test", liked=4.0, top_k=[3], most_users=5, seed=seed)
    assert asked[0] == asked[1] != asked[2]
    assert [len(each) for each in asked] == [5, 5, 5]


def test_what_cannot_be_ranked_is_refused(measured):
    model, data = measured()
    scores = model.item_scores()
    with pytest.raises(DataError, match=r"val part has no rating of 6 or more.*metrics\.liked"):
        rank_part(scores, data, "val", liked=6.0, top_k=[5])
    with pytest.raises(DataError, match=r"top_k=100 is more than the 20 items.*metrics\.top_k"):
        rank_part(scores, data, "test", liked=4.0, top_k=[5, 100])


def test_no_matrix_of_all_users_and_items(measured, monkeypatch):
    """The largest block is what is set, not the whole, and blocks share their memory."""
    model, data = measured()
    scores = model.item_scores()
    monkeypatch.setattr(ranking_batches, "SCORES_AT_A_TIME", 2 * scores.items)
    original, asked, places = scores.of_users, [], set()

    def of_users(users, out=None):
        asked.append(len(users))
        places.add(out.data_ptr())
        return original(users, out)

    scores.of_users = of_users
    rank_part(scores, data, "test", liked=4.0, top_k=[3])
    assert max(asked) == 2
    assert len(asked) > 2
    assert len(places) == 1
