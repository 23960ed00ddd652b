import numpy as np
import pytest
import torch
from support import composed

from lightning_collab.config import validated
from lightning_collab.data.orders import Groups, cut
from lightning_collab.errors import ConfigError
from lightning_collab.models.rating_output import Output
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training import engine
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.fused.per_sample import (
    Missed,
    Rates,
    Samples,
    Weights,
    per_sample_sgd,
    takes_single_ratings,
)
from lightning_collab.training.run import train
from lightning_collab.training.trainer import build_bare_trainer

SINGLE = (
    "data.batch_size=1",
    "optimizer=sgd",
    "optimizer.momentum=0",
    "optimizer.decay=per_row",
    "optimizer.weight_decay=0.03",
)
QUIET = ("callbacks.progress_bar=false", "callbacks.projector=null", "logger=none")
USERS, ITEMS, WIDTH = 7, 5, 3


def drawn(kind, count=60, biased=True):
    random = np.random.default_rng(0)
    weights = Weights(
        *(random.normal(size=(rows, WIDTH)).astype(kind) for rows in (USERS, ITEMS)),
        *(random.normal(size=(rows if biased else 0, 1)).astype(kind) for rows in (USERS, ITEMS)),
    )
    samples = Samples(
        random.integers(0, USERS, count).astype(np.int32),
        random.integers(0, ITEMS, count).astype(np.int32),
        random.integers(1, 6, count).astype(kind),
        np.linspace(1.0, 0.1, count),
    )
    return samples, weights


def by_autograd(samples, weights, rates, output, dense=False):
    """The same steps by torch: squared error plus decay / 2 times the squared rows, or tables."""
    tables = [torch.tensor(each, requires_grad=True) for each in weights]
    groups = [
        {"params": tables[:2], "lr": rates.factors},
        {"params": tables[2:], "lr": rates.biases},
    ]
    optimizer = torch.optim.SGD(groups)
    base = [group["lr"] for group in groups]
    losses = []
    for user, item, rating, factor in zip(*samples, strict=True):
        p, q, b, c = (
            table[row] if len(table) else torch.zeros(1, dtype=table.dtype)
            for table, row in zip(tables, (user, item, user, item), strict=True)
        )
        raw = (p * q).sum() + (b + c).sum()
        predicted = output.low + (output.span * torch.sigmoid(raw) if output.sigmoid else raw)
        squared_error = (predicted - float(rating)) ** 2
        pulled = tables if dense else (p, q, b, c)
        of_factors, of_biases = (
            sum(each.square().sum() for each in half) for half in (pulled[:2], pulled[2:])
        )
        penalty = rates.factor_decay / 2 * of_factors + rates.bias_decay / 2 * of_biases
        for group, rate in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = rate * factor
        optimizer.zero_grad()
        (squared_error + penalty).backward()
        optimizer.step()
        losses.append(squared_error.item())
    return [table.detach().numpy() for table in tables], losses


@pytest.mark.parametrize(
    ("kind", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)], ids=["double", "single"]
)
@pytest.mark.parametrize("output", [Output(True, 0.5, 5.0), Output(False, 3.5, 1.0)])
@pytest.mark.parametrize("biased", [True, False], ids=["biases", "factors alone"])
def test_steps_are_those_of_autograd(kind, tolerance, output, biased):
    rates = Rates(factors=0.05, biases=0.02, factor_decay=0.1, bias_decay=0.3)
    samples, weights = drawn(kind, biased=biased)
    expected, losses = by_autograd(samples, weights, rates, output)
    squared_errors = np.zeros(len(samples.users))
    taken = per_sample_sgd(samples, weights, rates, output, squared_errors)
    assert taken == len(samples.users)
    for mine, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=tolerance, rtol=0)
    np.testing.assert_allclose(squared_errors, losses, atol=100 * tolerance, rtol=0)


@pytest.mark.parametrize(
    "rates",
    [
        Rates(factors=0.05, biases=0.02, factor_decay=0.1, bias_decay=0.3),
        Rates(factors=0.05, biases=0.0, factor_decay=0.1, bias_decay=0.0),
        Rates(factors=0.0, biases=0.02, factor_decay=0.0, bias_decay=0.3),
        # All is forgotten at one step, and nearly all at the others.
        Rates(factors=0.05, biases=0.02, factor_decay=20.0, bias_decay=49.0),
    ],
    ids=["both", "factors", "biases", "everything"],
)
@pytest.mark.parametrize("output", [Output(True, 0.5, 5.0), Output(False, 3.5, 1.0)])
@pytest.mark.parametrize("biased", [True, False], ids=["biases", "factors alone"])
def test_rows_that_no_rating_touches_shrink_all_the_same(rates, output, biased):
    samples, weights = drawn(np.float64, biased=biased)
    expected, losses = by_autograd(samples, weights, rates, output, dense=True)
    squared_errors = np.zeros(len(samples.users))
    missed = Missed.nothing(weights, 60)
    assert per_sample_sgd(samples, weights, rates, output, squared_errors, missed=missed) == 60
    assert all((each == 1).all() for each in missed[:2])
    for mine, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12, rtol=0)
    np.testing.assert_allclose(squared_errors, losses, atol=1e-10, rtol=0)


def _with_decay_of_all(samples, weights, rates, threads=1):
    count = len(samples.users)
    missed = Missed.nothing(weights, count)
    return per_sample_sgd(samples, weights, rates, OUT, np.zeros(count), threads, missed=missed)


def test_a_long_way_down_is_no_rounding_to_zero():
    """Products of shrinkage become as small as 1e-400; rows that are touched meanwhile do not."""
    samples, weights = drawn(np.float64, count=6000)
    rates = Rates(factors=0.02, biases=0.02, factor_decay=10.0, bias_decay=3.0)
    expected, _ = by_autograd(samples, weights, rates, OUT, dense=True)
    assert _with_decay_of_all(samples, weights, rates) == 6000
    for mine, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12, rtol=0)


def test_it_stops_before_a_step_that_is_no_number():
    samples, weights = drawn(np.float64)
    samples.ratings[7] = np.nan
    squared_errors = np.zeros(60)
    before, *_ = by_autograd(
        Samples(*(each[:7] for each in samples)), weights, Rates(0.1, 0.1, 0, 0), OUT
    )
    assert per_sample_sgd(samples, weights, Rates(0.1, 0.1, 0, 0), OUT, squared_errors) == 7
    np.testing.assert_allclose(weights.user_factors, before[0], atol=1e-12)
    assert np.isnan(squared_errors[7])


OUT = Output(False, 3.5, 1.0)


@pytest.mark.parametrize("threads", [2, 3])
def test_parts_lie_side_by_side_and_have_about_as_many_ratings(threads):
    users = np.random.default_rng(0).zipf(1.5, 5000).clip(1, 400).astype(np.int32)
    np.random.default_rng(1).shuffle(renamed := np.arange(401, dtype=np.int32))
    part, loads = cut(renamed[users], 401, threads)
    np.testing.assert_array_equal(loads, np.bincount(part[renamed[users]], minlength=threads))
    assert (np.diff(part) >= 0).all()
    # A border lies within a row of the best place for it.
    assert loads.max() - loads.min() <= 2 * np.bincount(users).max()


@pytest.mark.parametrize("threads", [2, 3])
def test_steps_of_threads_are_steps_on_all_ratings_in_an_order_of_their_own(threads):
    random = np.random.default_rng(0)
    users = random.integers(1, 40, 3000).astype(np.int32)
    items = random.integers(1, 30, 3000).astype(np.int32)
    ratings = random.integers(1, 6, 3000).astype(np.float32)
    start = [random.normal(0, 0.1, shape) for shape in ((40, 4), (30, 4), (40, 1), (30, 1))]
    rates = Rates(0.05, 0.05, 0.01, 0.01)
    (user_part, _), (item_part, _) = cut(users, 40, threads), cut(items, 30, threads)
    phase = (item_part[items] - user_part[users]) % threads
    order = np.lexsort((np.arange(3000), user_part[users], phase))
    outcomes = []
    for chosen, count in ((np.arange(3000), threads), (np.arange(3000), threads), (order, 1)):
        weights = Weights(*(each.copy() for each in start))
        samples = Samples(users[chosen], items[chosen], ratings[chosen], np.ones(3000))
        squared_errors = np.zeros(3000)
        taken = per_sample_sgd(samples, weights, rates, OUT, squared_errors, count)
        assert taken == 3000
        outcomes.append([*weights, np.sort(squared_errors)])
    for one, again, in_turn in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(one, again)
        np.testing.assert_allclose(one, in_turn, atol=1e-12)


@pytest.mark.parametrize("dense", [False, True])
def test_threads_on_blocks_do_what_one_does(dense):
    random = np.random.default_rng(0)
    users, items = (random.integers(1, rows, 90_000).astype(np.int32) for rows in (400, 300))
    groups = Groups.blocks(users, items)
    rows = groups.rows[groups.order(1)]
    ends = groups.rounds(1)
    rounds = np.column_stack([[0, *ends[:-1, -1]], ends])
    ratings = random.integers(1, 6, 90_000).astype(np.float32)
    samples = Samples(users[rows], items[rows], ratings[rows], np.linspace(1, 0.5, 90_000))
    start = [random.normal(0, 0.1, shape) for shape in ((400, 4), (300, 4), (400, 1), (300, 1))]
    # Rows catch up in the middle as well, since the products would become as small as 1e-130.
    rates = Rates(0.05, 0.05, 0.1, 0.01)
    outcomes = []
    for threads in (1, 2, 3):
        weights = Weights(*(each.copy() for each in start))
        errors = np.zeros(90_000)
        given = {"rounds": rounds, "missed": Missed.nothing(weights, 90_000) if dense else None}
        assert per_sample_sgd(samples, weights, rates, OUT, errors, threads, **given) == 90_000
        outcomes.append([*weights, errors])
    for one, two, three in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_threads_share_the_decay_of_all_rows():
    random = np.random.default_rng(0)
    users, items = (random.integers(1, rows, 4000).astype(np.int32) for rows in (40, 30))
    start = [random.normal(0, 1, shape) for shape in ((41, 4), (31, 4), (41, 1), (31, 1))]
    samples = Samples(users, items, np.full(4000, 3.5, np.float32), np.linspace(1, 0.5, 4000))
    rates = Rates(0.01, 0.01, 0.2, 0.1)
    outcomes = []
    for threads in (1, 2, 2):
        weights = Weights(*(each.copy() for each in start))
        assert _with_decay_of_all(samples, weights, rates, threads) == 4000
        outcomes.append(weights)
    for one, two, again, first in zip(*outcomes, start, strict=True):
        np.testing.assert_array_equal(two, again)
        # Rows without ratings have lost as much as all steps take away.
        np.testing.assert_allclose(two[[0, -1]], one[[0, -1]], rtol=1e-10)
        assert np.abs(two - one).max() < 0.1 * np.abs(first - one).max()


def test_threads_stop_where_a_loss_is_no_number():
    random = np.random.default_rng(0)
    users, items = (random.integers(1, 9, 100).astype(np.int32) for _ in range(2))
    ratings = np.full(100, 3, np.float32)
    ratings[50] = np.nan
    weights = Weights(*(random.normal(0, 0.1, (9, width)) for width in (4, 4, 1, 1)))
    samples = Samples(users, items, ratings, np.ones(100))
    assert per_sample_sgd(samples, weights, Rates(0.1, 0.1, 0, 0), OUT, np.zeros(100), 2) < 100
    assert all(np.isfinite(each).all() for each in weights)


def test_several_threads_learn_nearly_as_well_as_one(ml_100k, run_config, tmp_path):
    rmse = {}
    for threads in (1, 2, 4):
        config = run_config(
            *SINGLE,
            *QUIET,
            "model.factors=16",
            "model.init_range=0.05",
            "optimizer.lr=0.1",
            "scheduler.cycle_len=2",
            "trainer.max_epochs=2",
            f"training.sgd_threads={threads}",
        )
        data = load_data(config, ml_100k)
        (tmp_path / str(threads)).mkdir()
        run = RunDirectory(tmp_path / str(threads))
        rmse[threads] = train(config, run, data=data, test=False)["val/rmse"]
    assert rmse[1] < 0.93
    # A pass in which the users of one thread come after those of the other is less well mixed.
    assert rmse[2] == pytest.approx(rmse[1], abs=0.007)
    assert rmse[4] == pytest.approx(rmse[1], abs=0.012)


def test_a_run_of_several_threads_says_that_its_order_is_another(
    small_table, run_config, tmp_path, caplog
):
    config = run_config(*SINGLE, *QUIET, "trainer.max_epochs=1", "training.sgd_threads=2")
    config = config.model_copy(
        update={"scheduler": config.scheduler.model_copy(update={"cycle_len": 1.0})}
    )
    data = load_data(config, small_table)
    (tmp_path / "run").mkdir()
    with caplog.at_level("WARNING"):
        train(config, RunDirectory(tmp_path / "run"), data=data)
    assert "in another order than by one thread" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.batch_size=64",), r"sgd_threads.*set data\.batch_size=1"),
        (("optimizer.momentum=0.9",), r"set optimizer\.momentum=0"),
        (("optimizer=adam",), r"set optimizer=sgd"),
        (("trainer.gradient_clip_val=1",), r"set trainer\.gradient_clip_val=null"),
        (("training.engine=eager",), r"training\.engine=eager: .*sgd_threads=2"),
        (("model=embedding_net",), r"sgd_threads=2: .*model=embedding_net"),
        (("training.sgd_threads=0",), r"training\.sgd_threads: .*greater than or equal to 1"),
    ],
)
def test_threads_that_would_do_something_else_are_refused(overrides, message):
    optimizer = [each for each in SINGLE if not each.startswith("optimizer.momentum")]
    base = optimizer if "optimizer=adam" in overrides else SINGLE
    with pytest.raises(ConfigError, match=message):
        validated(composed(*base, "training.sgd_threads=2", *overrides))


def test_without_numba_threads_are_refused(run_config, small_table, monkeypatch):
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    config = run_config(*SINGLE, "training.sgd_threads=2")
    data = load_data(config, small_table)
    trainer = build_bare_trainer(config, [], max_steps=1)
    with pytest.raises(ConfigError, match=r"sgd_threads=2.*numba is not installed"):
        trainer.fit(build_module(config, data), datamodule=data)


@pytest.mark.parametrize(
    ("overrides", "plain"),
    [((), True), (("optimizer.decay=gradient",), True), (("optimizer.momentum=0.5",), False)],
)
def test_only_steps_without_momentum_or_clipping_are_plain(run_config, overrides, plain):
    optimizer = run_config(*SINGLE, *overrides).optimizer
    assert takes_single_ratings(optimizer, clip=0) is plain
    assert not takes_single_ratings(optimizer, clip=1.0)


@pytest.mark.parametrize("group", ["embeddings", "biases"])
def test_a_group_that_is_frozen_stays_as_it_was(group, run_config, small_table, tmp_path):
    def trained(epochs):
        config = run_config(
            *(*SINGLE, *QUIET, "trainer=cpu", "training.engine=fused", "model.init_range=0.3"),
            *(f"optimizer.groups.{group}.lr_scale=0", f"trainer.max_epochs={epochs}"),
        )
        run = RunDirectory(tmp_path / str(epochs))
        train(config, run, data=load_data(config, small_table))
        return read_checkpoint(run.last_checkpoint)["state_dict"]

    one, two = trained(1), trained(2)
    frozen = "factors" if group == "embeddings" else "bias"
    tables = [name for name in one if "factors" in name or "bias" in name]
    assert len(tables) == 4
    for name in tables:
        # Rows of unknown ids are filled with the mean of the known ones.
        assert torch.equal(one[name][1:], two[name][1:]) == (frozen in name), name
