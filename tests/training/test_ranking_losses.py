"""Runs that learn to rank: on several ranks, resumed, and by each of their settings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rank_cases import several_trained
from ranks import on_ranks

from lightning_collab.data.feed import Feed
from lightning_collab.errors import ConfigError, DataError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.run import train

QUICK = (
    "callbacks.progress_bar=false",
    "callbacks.report=null",
    "callbacks.projector=null",
    "logger=none",
    "trainer.max_epochs=2",
    "model.factors=4",
    "model.init_range=0.3",
    "loss.positives=4",
    "metrics.top_k=[3,5]",
    "training.engine=eager",
)
# Of some 200 choices by 30 users: the last batch is of one, so that one rank has none.
CASES = {
    "softmax": ("loss=softmax", "data.batch_size=29"),
    "sampled softmax": ("loss=softmax", "loss.catalogue_limit=0", "loss.samples=30"),
    "softmax and dense moments": (
        "loss=softmax",
        "optimizer.groups.embeddings.users.lazy=false",
        "data.batch_size=7",
    ),
    "bce": ("loss=bce", "data.batch_size=37"),
    "bpr by user": ("loss=bpr", "data.order=by_user", "data.batch_size=50"),
    "the net": ("loss=bpr", "model=embedding_net", "data.batch_size=37"),
    "the net with dropout": ("loss=softmax", "model=embedding_net", "data.batch_size=7"),
}


@pytest.fixture(scope="module")
def both(small_table, run_config, tmp_path_factory):
    """Each case by one process and by two ranks."""
    folder = tmp_path_factory.mktemp("ranking")

    def configs(way):
        return [
            (run_config(*QUICK, *case, f"trainer={way}"), folder / way / name)
            for name, case in CASES.items()
        ]

    one = several_trained(configs("cpu"), small_table)
    two = on_ranks(several_trained, configs("ddp_cpu"), small_table)[0]
    return {name: (one[k], two[k]) for k, name in enumerate(CASES)}


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_and_measure_as_one_process(both, case):
    one, two = both[case]
    assert two["metrics"]["ranks"] == 2
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    for name, weights in one["weights"].items():
        np.testing.assert_allclose(two["weights"][name], weights, atol=2e-4, err_msg=name)
    measured = [name for name in one["metrics"] if name.startswith(("val/", "test/"))]
    assert {"val/ndcg@3", "val/recall@5", "test/gini@5"} <= set(measured)
    for name in measured:
        assert two["metrics"][name] == pytest.approx(one["metrics"][name], abs=1e-5), name


def run_of(config, folder, data, **options):
    metrics = train(config, RunDirectory(folder), data=data, **options)
    return metrics, read_checkpoint(RunDirectory(folder).last_checkpoint)


SETTINGS = {
    "softmax": (
        "loss.positives=3",
        "loss.dislikes=negative",
        "loss.catalogue_limit=0",
        "optimizer.frequency_power=1.0",
        "optimizer.weight_decay=0.5",
        "optimizer.groups.embeddings.users.lr_scale=1",
        "optimizer.groups.embeddings.users.beta1=0.9",
        "optimizer.groups.embeddings.users.beta2=0.9",
        "optimizer.groups.embeddings.users.weight_decay=0.01",
        "optimizer.groups.embeddings.users.lazy=false",
        "optimizer.groups.biases.items.lr_scale=0",
        "scheduler.end_share=0.9",
        "averaging=swa",
    ),
    "bce": (
        "loss.negatives=2",
        "loss.popularity_power=1",
        "data.order=by_user",
        "optimizer.frequency_power=0.1",
    ),
    "bpr": (
        *("loss.negatives=3", "loss.popularity_power=0.1", "data.order=by_user"),
        "optimizer.groups.embeddings.items.lazy=true",
    ),
    "sampled softmax": ("loss.samples=7", "loss.popularity_power=0"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_changes_the_result(name, small_table, run_config, tmp_path):
    kind = CASES.get(name, (f"loss={name}",))

    def weights(*typed):
        config = run_config("trainer=cpu", *QUICK, *kind, "data.batch_size=20", *typed)
        folder = tmp_path / "-".join(typed)
        _, checkpoint = run_of(config, folder, load_data(config, small_table))
        return torch.cat([each.flatten().float() for each in checkpoint["state_dict"].values()])

    usual = weights()
    assert torch.equal(usual, weights("loss.positives=4"))
    for typed in SETTINGS[name]:
        assert not torch.equal(usual, weights(typed)), typed


@pytest.mark.parametrize("case", ["softmax", "sampled softmax", "bpr by user"])
def test_a_run_that_goes_on_is_the_run_that_was_never_stopped(
    case, small_table, run_config, tmp_path
):
    def config(epochs):
        schedule = ("scheduler=constant", f"trainer.max_epochs={epochs}")
        return run_config("trainer=cpu", *QUICK, *CASES[case], *schedule)

    data = load_data(config(4), small_table)
    _, whole = run_of(config(4), tmp_path / "whole", data)
    run_of(config(2), tmp_path / "stopped", load_data(config(2), small_table))
    again = load_data(config(4), small_table)
    metrics, resumed = run_of(config(4), tmp_path / "stopped", again, resume=True)
    assert metrics["epochs"] == 4
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name


def test_item_biases_start_at_log_popularity(small_table, run_config, tmp_path):
    frozen = ("optimizer.lr=1e-30", "trainer.max_epochs=1", "optimizer.weight_decay=0")
    config = run_config("trainer=cpu", *QUICK, "loss=softmax", *frozen)
    data = load_data(config, small_table)
    _, checkpoint = run_of(config, tmp_path, data)
    counts = data.chosen(data.rows.train, 4.0).item_counts[1:]
    logs = np.log(np.maximum(counts, 0.5))
    found = checkpoint["state_dict"]["model.item_bias.weight"][1:, 0]
    np.testing.assert_allclose(found, logs - logs.mean(), atol=1e-5)


def test_what_softmax_says_nothing_of_stays_as_it_was_drawn(small_table, run_config, tmp_path):
    """A user's bias changes no share of softmax: its gradient would be rounding errors alone."""
    config = run_config("trainer=cpu", *QUICK, "loss=softmax")
    data = load_data(config, small_table)
    drawn = build_module(config, data).model.user_bias.weight.detach()
    _, checkpoint = run_of(config, tmp_path, data)
    assert torch.equal(checkpoint["state_dict"]["model.user_bias.weight"][1:], drawn[1:])
    other = run_config("trainer=cpu", *QUICK, "loss=bce")
    _, checkpoint = run_of(other, tmp_path / "bce", load_data(other, small_table))
    assert not torch.equal(checkpoint["state_dict"]["model.user_bias.weight"][1:], drawn[1:])


def test_a_user_with_every_item_is_left_out_where_items_are_drawn(run_config, small_table, caplog):
    config = run_config("trainer=cpu", "loss=bpr", "split.val=0", "split.test=0")
    data = load_data(config, small_table)
    # Every user of the made-up table has rated every item.
    data.feed = Feed(of="pairs")
    with pytest.raises(DataError, match="every user has every item, so that nothing is left"):
        data.feed.chosen(data)
    kept = np.flatnonzero((small_table.users != 1) | (small_table.items > 3))
    parts = {name: getattr(small_table, name)[kept] for name in ("users", "items", "ratings")}
    fewer = replace(small_table, timestamps=small_table.timestamps[kept], **parts)
    data = load_data(config, fewer)
    data.feed = Feed(of="pairs")
    learned = data.feed.chosen(data)
    assert len(np.unique(learned.users)) == 1
    assert "29 users have every item" in caplog.text


def test_no_rating_is_as_high_as_the_threshold(small_table, run_config, tmp_path):
    config = run_config("trainer=cpu", *QUICK, "loss=softmax", "loss.positives=5.5")
    with pytest.raises(DataError, match=r"no rating is 5\.5 or more, the highest is 5"):
        train(config, RunDirectory(tmp_path / "run"), data=load_data(config, small_table))


def test_more_items_are_asked_for_than_there_are(small_table, run_config, tmp_path):
    config = run_config("trainer=cpu", *QUICK, "loss=softmax", "metrics.top_k=[10,50]")
    with pytest.raises(DataError, match=r"top_k=50 is more than the \d+ items"):
        train(config, RunDirectory(tmp_path / "run"), data=load_data(config, small_table))


REFUSED = {
    "data.columns.rating=null means that there are none": (
        *("data=csv", "data.path=x.csv", "data.columns.rating=null"),
    ),
    r"set model=implicit_least_squares": (
        *("data=csv", "data.path=x.csv", "data.columns.rating=null"),
        "model=least_squares_factors",
    ),
    r"callbacks\.monitor=val/rmse is not measured where a run learns to rank": (
        *("loss=softmax", "callbacks.monitor=val/rmse"),
    ),
    r"callbacks\.monitor=val/ndcg@7 is not measured": (
        *("loss=softmax", "callbacks.monitor=val/ndcg@7"),
    ),
    r"callbacks\.monitor=val/ndcg@10 is a ranking metric, but loss=squared_error": (
        "callbacks.monitor=val/ndcg@10",
    ),
    r"features\.time\.\w+: items that nobody chose have no time": (
        *("loss=softmax", "features=everything"),
    ),
    r"features\.users\.\w+: the history of a user has the items": (
        *("loss=bpr", "features=history"),
    ),
    r"model\.sharding=row: loss=bpr compares a user with many items": (
        *("loss=bpr", "model.sharding=row", "trainer=ddp_cpu"),
    ),
    r"data\.order=by_user: .*already takes each user": ("loss=softmax", "data.order=by_user"),
    r"loss=softmax is minimized by gradient descent": (
        *("loss=softmax", "model=least_squares_factors"),
    ),
    r"optimizer\.frequency_power=0\.5 applies to optimizer\.decay=per_row": (
        *("optimizer=sgd", "optimizer.frequency_power=0.5"),
    ),
    r"optimizer\.groups\.embeddings\.users: beta1, beta2 and lazy apply to Adam": (
        *("optimizer=sgd", "optimizer.groups.embeddings.users.lazy=true"),
    ),
    r"optimizer\.groups\.embeddings\.users\.lazy: optimizer\.decay=gradient gives every row": (
        *("optimizer.decay=gradient", "optimizer.groups.embeddings.users.lazy=true"),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_makes_no_sense_is_refused_by_name(message, run_config):
    with pytest.raises(ConfigError, match=message):
        run_config(*REFUSED[message])


def test_the_monitor_follows_the_loss(run_config):
    ranks, rates = run_config("loss=bce"), run_config()
    assert (ranks.monitor, ranks.monitor_mode) == ("val/ndcg@10", "max")
    assert (rates.monitor, rates.monitor_mode) == ("val/rmse", "min")
    other = run_config("loss=bce", "metrics.top_k=[5]")
    assert (other.monitor, other.monitor_mode) == ("val/ndcg@5", "max")
    gini = run_config("loss=bce", "callbacks.monitor=val/gini@10")
    assert gini.monitor_mode == "min"
