"""Ranks that take steps by themselves are local SGD, averaged by hand."""

import numpy as np
import pytest
import torch
from rank_cases import seen
from ranks import on_ranks

from lightning_collab.data.batches import RatingBatches
from lightning_collab.errors import ConfigError
from lightning_collab.training.build import load_data

RANKS, SIZE, EPOCHS, RATE = 2, 40, 2, 0.02
COMMON = (
    "callbacks.progress_bar=false",
    "logger=none",
    f"trainer.max_epochs={EPOCHS}",
    f"data.batch_size={SIZE}",
    f"optimizer.lr={RATE}",
    "model.factors=3",
    "model.init_range=0.5",
    "model.output=linear",
    "scheduler=constant",
    "trainer=ddp_cpu",
    "trainer.precision=64-true",
)
SGD = ("optimizer=sgd", "optimizer.momentum=0", "optimizer.decay=per_row")
MOMENTUM = ("optimizer=sgd", "optimizer.momentum=0.9", "optimizer.decay=gradient")
ADAM = ("optimizer=adamw", "optimizer.weight_decay=0.1")
# Of 480 training ratings in batches of 40: 12 steps an epoch, which 5 does not divide. 9 ratings of
# 600 in a batch leave most rows of a window of 2 untouched.
CASES = {
    "each step": (*SGD, "trainer.sync_every=1"),
    "plain, every 5": (*SGD, "trainer.sync_every=5"),
    "momentum, every 5": (*MOMENTUM, "trainer.sync_every=5"),
    "adamw, every 2, few rows": (*ADAM, "trainer.sync_every=2", "data.batch_size=4"),
    "adamw, an epoch": (*ADAM, "trainer.sync_every=1000"),
}


@pytest.fixture(scope="module")
def runs(small_table, run_config, tmp_path_factory):
    """What each rank saw in each case; and a run that is interrupted in a window and resumed."""
    folder = tmp_path_factory.mktemp("local_steps")
    configs = {name: run_config(*COMMON, *case) for name, case in CASES.items()}
    cases = [(config, folder / name, False, None) for name, config in configs.items()]
    # In single precision, since Lightning loads a checkpoint before it makes a model double.
    single = run_config(*COMMON, *CASES["momentum, every 5"], "trainer.precision=32-true")
    cases += [(single, folder / "whole", False, None), (single, folder / "resumed", False, 7)]
    cases += [(single, folder / "resumed", True, None)]
    middle = run_config(*COMMON, *CASES["momentum, every 5"], "trainer.val_check_interval=3")
    cases += [(middle, folder / "middle", False, None)]
    found = on_ranks(seen, cases, small_table)
    names = [*configs, "whole", "stopped", "resumed", "validated within"]
    return configs, {name: [rank[k] for rank in found] for k, name in enumerate(names)}


def _by_hand(config, table, start):
    """Weights after each epoch: each rank's own copy and torch optimizer, averaged now and then."""
    data = load_data(config, table)
    columns = [torch.as_tensor(each) for each in data.columns(data.rows.train).tensors()[:3]]
    mean = columns[2].double().mean().float()  # as the model keeps it
    batches = [
        RatingBatches(*columns, batch_size=config.batch_size, shuffle=True, seed=config.seed,
                      rank=rank, world_size=RANKS)
        for rank in range(RANKS)
    ]  # fmt: skip
    copies = [{k: torch.tensor(v, requires_grad=True) for k, v in start.items()} for _ in batches]
    settings = config.optimizer
    decay = settings.weight_decay
    if settings.name == "sgd":
        dense = decay if settings.decay == "gradient" else 0
        options = {"momentum": settings.momentum, "weight_decay": dense}
        optimizers = [torch.optim.SGD(each.values(), lr=RATE, **options) for each in copies]
    else:
        optimizers = [torch.optim.AdamW(c.values(), lr=RATE, weight_decay=decay) for c in copies]
    ends = []
    for epoch in range(EPOCHS):
        for each in batches:
            each.set_epoch(epoch)
        for step, shares in enumerate(zip(*batches, strict=True), 1):
            for share, weights, optimizer in zip(shares, copies, optimizers, strict=True):
                touched = [
                    weights[f"{side}_{part}.weight"][getattr(share, f"{side}s").long()]
                    for part in ("factors", "bias")
                    for side in ("user", "item")
                ]
                p, q, b, c = touched
                rated = mean + (p * q).sum(1) + b[:, 0] + c[:, 0]
                loss = (rated - share.ratings).square().sum()
                if settings.decay == "per_row":
                    loss = loss + decay / 2 * sum(each.square().sum() for each in touched)
                optimizer.zero_grad()
                (loss * RANKS / share.whole_size).backward()
                optimizer.step()
            if step % config.trainer.sync_every == 0 or step == batches[0].batches:
                _mean(copies, optimizers)
        for weights in copies:
            for weight in weights.values():
                weight.data[0] = weight.data[1:].mean(0)
        ends.append({name: each.detach().numpy().copy() for name, each in copies[0].items()})
    return ends


@torch.no_grad()
def _mean(copies, optimizers):
    for name in copies[0]:
        each = [copy[name] for copy in copies]
        states = [opt.state[weight] for opt, weight in zip(optimizers, each, strict=True)]
        kept = [key for key, value in states[0].items() if value is not None and value.ndim]
        for same in (each, *([state[key] for state in states] for key in kept)):
            middle = torch.stack([value.detach() for value in same]).mean(0)
            for value in same:
                value.copy_(middle)


@pytest.mark.parametrize("name", CASES)
def test_it_is_local_steps_averaged_by_hand(runs, small_table, name):
    configs, seen_by = runs
    start, *after = seen_by[name][0]
    ends = _by_hand(configs[name], small_table, start)
    for found, expected in zip(after[1::2], ends, strict=True):
        for parameter, value in expected.items():
            np.testing.assert_allclose(found[parameter], value, atol=1e-10, err_msg=parameter)


def test_ranks_agree_to_the_bit_whenever_the_model_is_looked_at(runs):
    for name, (one, other) in runs[1].items():
        for mine, theirs in zip(one, other, strict=True):
            for parameter, value in mine.items():
                np.testing.assert_array_equal(theirs[parameter], value, err_msg=f"{name}")


def test_how_often_ranks_average_changes_the_model(runs):
    ends = [runs[1][name][0][-1]["item_factors.weight"] for name in CASES]
    assert np.abs(ends[0] - ends[1]).max() > 1e-6
    between = runs[1]["validated within"][0][-1]["item_factors.weight"]
    assert np.abs(between - ends[2]).max() > 1e-6  # a validation averages as well


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(runs):
    whole, resumed = (runs[1][name][0] for name in ("whole", "resumed"))
    assert len(runs[1]["stopped"][0]) == 1  # in the first epoch
    for parameter, value in whole[-1].items():
        np.testing.assert_array_equal(resumed[-1][parameter], value, err_msg=parameter)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("trainer=cpu",), "is for several ranks, but trainer=cpu has one"),
        (("trainer=ddp_cpu", "trainer.devices=1"), "has one"),
        (("trainer=ddp_cpu", "trainer.strategy=fsdp"), "has strategy=fsdp"),
        (("trainer=ddp_cpu", "trainer.accumulate_grad_batches=2"), "accumulate_grad_batches=1"),
        (("trainer=ddp", "trainer.precision=16-mixed"), "precision=16-mixed"),
        (("trainer=ddp_cpu", "model.sharding=row"), "model.sharding=row"),
        (("trainer=ddp_cpu", "data.batch_size=full"), "data.batch_size=full"),
        (("trainer=ddp_cpu", "averaging=ema"), "averaging=ema"),
        (("trainer=ddp_cpu", "optimizer=torch", "optimizer.class_name=RMSprop"), "optimizer=torch"),
        (("trainer=ddp_cpu", "loss=bpr", "optimizer.groups.embeddings.users.lazy=true"), "lazy"),
        (("trainer=ddp_cpu", "model=least_squares_factors"), "solved without gradients"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_what_has_no_steps_alone_is_refused(run_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_config(*overrides, "trainer.sync_every=4")
