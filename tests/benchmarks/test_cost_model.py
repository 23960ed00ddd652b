"""The cost model: by hand, and against what two ranks send and hold."""

import pytest
from rank_cases import counted
from ranks import on_ranks

from benchmarks import plan
from benchmarks.cost_model import (
    Devices,
    StepCost,
    Training,
    exchanged_rows,
    split_tables,
    whole_tables,
)

USERS, ITEMS, FACTORS, HIDDEN = 41, 30, 6, 5
NET_LAYERS = 2 * FACTORS * HIDDEN + HIDDEN + HIDDEN + 1


def test_whole_tables_by_hand():
    training = Training(users=60, items=40, widths=(9, 1), batch_size=8, states=1)
    cost = whole_tables(training, 4)
    tables = 100 * 10 * 4
    assert cost.resident_bytes == 3 * tables
    assert cost.sent_bytes == 2 * 3 / 4 * tables
    assert cost.messages == 6


def test_split_tables_by_hand():
    training = Training(users=60, items=40, widths=(9,), batch_size=8, states=2)
    cost = split_tables(training, 4)
    assert cost.resident_bytes == 4 * (15 + 10) * 9 * 4
    # Each side: three other ranks get two ids; three quarters of eight rows go out; three other
    # ranks get the gradients of two rows.
    assert cost.sent_bytes == 2 * (3 * 2 * 4 + 3 / 4 * 8 * 9 * 4 + 3 * 2 * 9 * 4)
    assert cost.messages == 2 * 3 * 3
    assert exchanged_rows(training, 4).sent_bytes == 2 * 3 / 4 * (2 * 4 + 2 * 2 * 9 * 4)


def test_seconds_are_a_sum():
    cost = StepCost(resident_bytes=0, sent_bytes=6, messages=5, memory_bytes=8)
    devices = Devices(ranks=2, link=3.0, latency=0.1, memory=4.0)
    assert cost.seconds(devices) == pytest.approx(6 / 3 + 5 * 0.1 + 8 / 4)


@pytest.mark.parametrize("way", ["whole", "split"])
@pytest.mark.parametrize("model", ["embedding_dot_bias", "embedding_net"])
def test_two_ranks_send_and_hold_what_the_model_says(run_config, model, way):
    net = model == "embedding_net"
    config = run_config(
        f"model={model}",
        f"model.factors={FACTORS}",
        *((f"model.hidden={HIDDEN}",) if net else ()),
        f"model.sharding={'row' if way == 'split' else 'none'}",
        "trainer=ddp_cpu",
        "training.engine=eager",
        "data.batch_size=16",
        "optimizer=adam",
        "scheduler=constant",
        "logger=none",
    )
    training = Training(
        USERS,
        ITEMS,
        widths=(FACTORS,) if net else (FACTORS, 1),
        batch_size=16,
        shared=NET_LAYERS if net else 0,
    )
    cost = (split_tables if way == "split" else whole_tables)(training, 2)
    for rank, (sent, resident) in enumerate(on_ranks(counted, config, USERS, ITEMS)):
        # DDP asks once, before the first step, in which order gradients come.
        assert sent[1:] == [cost.sent_bytes] * 2
        if rank == 0:
            assert resident == cost.resident_bytes
        else:
            # The last rank has one row of the users less.
            assert resident <= cost.resident_bytes


def test_the_plan_covers_both_machines():
    numbers = plan.run(1)
    for devices in (8, 256):
        where = f"plan/{devices}_devices"
        assert numbers[f"{where}/split_tables/resident_gigabytes"] == pytest.approx(
            numbers[f"{where}/whole_tables/resident_gigabytes"] / devices, rel=1e-4
        )
        assert (
            numbers[f"{where}/split_tables/sent_megabytes"]
            < (numbers[f"{where}/whole_tables/sent_megabytes"])
        )
