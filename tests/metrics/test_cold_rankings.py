"""Rankings of cold items, against scikit-learn and against counting by hand."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.metrics.cold_rankings import HeldOutPairs, cold_rankings

USERS, WARM, COLD = 6, 5, 8


class Scores:
    def __init__(self, table):
        self.table = torch.tensor(table)

    def of_users(self, users, out=None):
        return self.table[users.long() - 1]


def vocabulary(warm, cold):
    return Vocabulary(pl.Series(range(warm + cold)), cold)


@given(seed=st.integers(0, 10**6), levels=st.sampled_from([3, 1000]), k=st.sampled_from([1, 3, 20]))
def test_as_scikit_learn_has_them(seed, levels, k):
    random = np.random.default_rng(seed)
    table = random.integers(0, levels, (USERS, WARM + COLD)).astype(np.float32)
    rated = np.argwhere(random.random((USERS, COLD)) < 0.5)
    liked = random.random(len(rated)) < 0.5
    pairs = HeldOutPairs(
        (rated[:, 0] + 1).astype(np.int32), (rated[:, 1] + WARM + 1).astype(np.int32), liked
    )
    found = cold_rankings(Scores(table), pairs, vocabulary(WARM, COLD), vocabulary(USERS, 0), k)
    of_all, of_rated, ndcg = [], [], []
    for user in range(USERS):
        mine = rated[:, 0] == user
        good, bad = rated[mine & liked, 1], rated[mine & ~liked, 1]
        if not len(good):
            continue
        scores, wanted = table[user, WARM:], np.zeros(COLD)
        wanted[good] = 1
        if levels > 3:
            ndcg.append(ndcg_score([wanted], [scores], k=k, ignore_ties=True))
        if len(good) < COLD:
            of_all.append(roc_auc_score(wanted, scores))
        if len(bad):
            both = np.r_[good, bad]
            of_rated.append(roc_auc_score(np.isin(both, good), scores[both]))
    if of_all:
        assert found["cold_auc_all"] == pytest.approx(np.mean(of_all))
    if of_rated:
        assert found["cold_auc_rated"] == pytest.approx(np.mean(of_rated))
    distinct = all(len(set(row[WARM:])) == COLD for row in table)
    if ndcg and distinct:
        assert found[f"cold_ndcg@{k}"] == pytest.approx(np.mean(ndcg))
    assert set(found) <= {f"cold_ndcg@{k}", "cold_auc_all", "cold_auc_rated"}


def test_warm_items_and_users_without_ratings_are_left_out():
    table = np.arange(USERS * (WARM + COLD), dtype=np.float32).reshape(USERS, -1)
    # A warm item, an unknown user, and a user who is cold: of none of them is anything measured.
    pairs = HeldOutPairs(
        np.array([1, 0, USERS], np.int32),
        np.array([WARM, WARM + 1, WARM + 1], np.int32),
        np.array([True] * 3),
    )
    users = vocabulary(USERS - 1, 1)
    assert cold_rankings(Scores(table), pairs, vocabulary(WARM, COLD), users, 10) == {}
