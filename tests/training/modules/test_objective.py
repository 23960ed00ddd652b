"""Losses of batches and their penalties by autograd, against sums written out by hand."""

import numpy as np
import pytest
import torch
from film_runs import film_table

from lightning_collab.losses import feed_of
from lightning_collab.training.build import build_module, load_data

LOSSES = ("softmax", "bce", "bpr")
BASE = (
    "loss.positives=4",
    "model.factors=3",
    "model.init_range=0.4",
    "optimizer=adam",
    "optimizer.weight_decay=0.3",
    "optimizer.frequency_power=0.6",
    "data.batch_size=11",
)


def module_of(run_config, table, *overrides):
    """A module in double precision that knows its data, and this."""
    config = run_config("trainer=cpu", *BASE, *overrides)
    data = load_data(config, table)
    module = build_module(config, data).double()
    data.feed = feed_of(module.loss)
    module._count_rows(data)
    return module, data


def first_batch(data):
    batches = data.train_dataloader()
    return next(iter(batches))


def tables(module):
    found = module.model.lookup_tables()
    return {
        (group, side): found[group][side].weight.detach().numpy()
        for group in found
        for side in found[group]
    }


def scores(module):
    """Of all users and known items."""
    found = tables(module)
    raw = found["embeddings", "users"] @ found["embeddings", "items"].T
    return (raw + found["biases", "users"] + found["biases", "items"].T)[:, 1:]


def frequencies(counts, power):
    """What a row's decay is times in an epoch: n^power x mean(n)^(1 - power)."""
    known = counts.astype(float)
    return np.where(known > 0, known**power * known[1:].mean() ** (1 - power), 0.0)


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


def loss_by_hand(module, data, batch):
    found = scores(module)
    if module.loss.config.name == "softmax":
        total = 0.0
        rated = data.chosen(data.rows.train, "all")
        for row, item in zip(batch.rows.tolist(), batch.items.tolist(), strict=True):
            user = int(batch.users[row])
            chosen = set(data.learned.of_user(user).tolist())
            disliked = set(rated.of_user(user).tolist()) - chosen
            left = [n for n in range(found.shape[1]) if n + 1 not in disliked]
            total += np.log(np.exp(found[user, left]).sum()) - found[user, item - 1]
        return total
    users, items = batch.users.numpy(), batch.items.numpy()
    own, drawn = found[users, items - 1], found[users[:, None], batch.drawn.numpy() - 1]
    if module.loss.config.name == "bpr":
        return -log_sigmoid(own[:, None] - drawn).sum()
    return -log_sigmoid(own).sum() - log_sigmoid(-drawn).sum()


def penalty_by_hand(module, data, batch, power):
    learned, total = data.learned, 0.0
    counts = {"users": learned.user_counts, "items": learned.item_counts}
    for (_, side), table in tables(module).items():
        by_epoch = frequencies(counts[side], power) * (table**2).sum(1) / 2
        if module.loss.config.name == "softmax":
            share = len(batch.users) / (learned.user_counts > 0).sum()
            mine = by_epoch[batch.users] if side == "users" else by_epoch * share
            total += mine.sum()
        else:
            touched = (batch.users if side == "users" else batch.items).numpy()
            total += (by_epoch[touched] / counts[side][touched]).sum()
    return total


@pytest.mark.parametrize("power", [1.0, 0.6])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_penalty_by_hand(loss, power, run_config, small_table):
    typed = (f"loss={loss}", f"optimizer.frequency_power={power}")
    module, data = module_of(run_config, small_table, *typed)
    batch = first_batch(data)
    found, total = module.objective(batch)
    assert float(found) == pytest.approx(loss_by_hand(module, data, batch), rel=1e-6)
    penalty = 0.3 * penalty_by_hand(module, data, batch, power)
    assert penalty > 0.1
    assert float(total - found) == pytest.approx(penalty, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_sides_have_decays_of_their_own(loss, run_config, small_table):
    key = "optimizer.groups.embeddings"
    module, data = module_of(
        run_config,
        small_table,
        f"loss={loss}",
        f"{key}.users.weight_decay=0.0",
        f"{key}.items.weight_decay=0.7",
        "optimizer.groups.biases.weight_decay=0.0",
    )
    batch = first_batch(data)
    found, total = module.objective(batch)
    for group, side in tables(module):
        if (group, side) != ("embeddings", "items"):
            module.model.lookup_tables()[group][side].weight.data.zero_()
    penalty = 0.7 * penalty_by_hand(module, data, batch, 0.6)
    assert float(total - found) == pytest.approx(penalty, rel=1e-5)


@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_features_decay_as_often_as_the_chosen_pairs_use_them(loss, run_config):
    left_out = ("~features.time", "~features.users.history", "~features.items.history")
    typed = (f"loss={loss}", "features=everything", *left_out, "optimizer.frequency_power=1.0")
    module, data = module_of(run_config, film_table(), "data=synthetic", *typed)
    batch = first_batch(data)
    found, total = module.objective(batch)
    touched = {"users": batch.users.numpy(), "items": batch.items.numpy()}
    by_hand = sum((table[touched[side]] ** 2).sum() for (_, side), table in tables(module).items())
    for group in module.model.mapping_tables().values():
        for side, table in group.items():
            rows = module.model.features()[side].matrix()[touched[side]]
            by_hand += rows.power(2).sum(0) @ (table.weight.detach().numpy() ** 2).sum(1)
    assert float(total - found) == pytest.approx(0.3 / 2 * by_hand, rel=1e-5)


def test_layers_of_a_network_decay_beside_sides_that_have_their_own(run_config, small_table):
    module, data = module_of(
        run_config,
        small_table,
        *("model=embedding_net", "loss=bce", "optimizer.frequency_power=1.0"),
        "optimizer.groups.embeddings.users.weight_decay=0.0",
        "optimizer.groups.embeddings.items.weight_decay=0.7",
        "optimizer.groups.hidden.weight_decay=0.4",
        "optimizer.groups.output.weight_decay=0.2",
    )
    batch = first_batch(data)
    found, total = module.objective(batch)
    model = module.model
    items = model.item_factors.weight[batch.items.long()].square().sum()
    hidden, output = (
        sum(each.square().sum() for each in layer.parameters())
        for layer in (model.hidden, model.last)
    )
    by_hand = 0.7 / 2 * items + len(batch.users) * (0.4 / 2 * hidden + 0.2 / 2 * output)
    assert float(total - found) == pytest.approx(float(by_hand), rel=1e-6)


def test_softmax_takes_what_was_disliked_for_a_negative_where_asked(run_config, small_table):
    typed = ("loss=softmax", "loss.dislikes=negative")
    module, data = module_of(run_config, small_table, *typed)
    batch = first_batch(data)
    found, _ = module.objective(batch)
    scored = torch.from_numpy(scores(module)[batch.users])
    expected = module.loss(scored, batch.rows, batch.items.long() - 1)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_net_scores_by_its_last_number(loss, run_config, small_table):
    """Each pair through the network by itself gives the same loss."""
    module, data = module_of(
        run_config,
        small_table,
        f"loss={loss}",
        "model=embedding_net",
        "model.embedding_dropout=0",
        "model.hidden_dropout=0",
        "optimizer.weight_decay=0",
    )
    batch = first_batch(data)
    found, _ = module.objective(batch)
    known = torch.arange(1, len(data.item_vocabulary))
    pairs = module.model.effective_tables()["embeddings"]

    def score(user):
        rows = {"embeddings": (pairs["users"][user].expand(len(known), -1), pairs["items"][known])}
        return module.model.score(rows, first_batch_of_ratings(known))

    all_scores = torch.stack([score(user) for user in batch.users.long()]).detach()
    if loss == "softmax":
        rated, chosen = data.chosen(data.rows.train, "all"), data.learned
        for row, user in enumerate(batch.users.tolist()):
            barred = set(rated.of_user(user).tolist()) - set(chosen.of_user(user).tolist())
            all_scores[row, [item - 1 for item in barred]] = -torch.inf
        expected = module.loss(all_scores, batch.rows, batch.items.long() - 1)
    else:
        own = all_scores.gather(1, batch.items.long()[:, None] - 1)[:, 0]
        expected = module.loss(own, all_scores.gather(1, batch.drawn.long() - 1))
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def first_batch_of_ratings(rows):
    from lightning_collab.data.batches import RatingBatch

    return RatingBatch(rows, rows, rows.double())


def test_sampled_softmax_leaves_out_what_the_user_chose(run_config, small_table):
    typed = (
        "loss=softmax",
        "loss.catalogue_limit=0",
        "loss.samples=40",
        "optimizer.weight_decay=0",
    )
    module, data = module_of(run_config, small_table, *typed)
    batch = first_batch(data)
    assert batch.drawn is not None
    assert len(batch.drawn) == 40
    found, _ = module.objective(batch)
    scored, rated, total = scores(module), data.chosen(data.rows.train, "all"), 0.0
    for row, item in zip(batch.rows.tolist(), batch.items.tolist(), strict=True):
        user = int(batch.users[row])
        own = set(rated.of_user(user).tolist())
        others = sum(
            np.exp(scored[user, drawn - 1] - log_expected)
            for drawn, log_expected in zip(
                batch.drawn.tolist(), batch.log_expected.tolist(), strict=True
            )
            if drawn not in own
        )
        score = scored[user, item - 1]
        total += np.log(np.exp(score) + others) - score
    assert float(found) == pytest.approx(total, rel=1e-5)
