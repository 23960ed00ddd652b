from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.config.optimizer import (
    ConstantConfig,
    OneCycleConfig,
    SchedulerConfig,
    StepsConfig,
    WarmRestartsConfig,
)
from lightning_collab.errors import ConfigError
from lightning_collab.training.schedules import build_schedule, exponential, factors


def torch_rates(make, steps, lr):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def our_rates(config, steps, lr, steps_per_epoch, max_epochs=100):
    total = steps_per_epoch * max_epochs
    schedule = build_schedule(config, lr=lr, steps_per_epoch=steps_per_epoch, total_steps=total)
    return [lr * schedule(step) for step in range(steps)]


@given(
    cycle_len=st.integers(1, 4),
    mult=st.integers(1, 3),
    steps_per_epoch=st.integers(1, 9),
    lr=st.floats(1e-3, 1),
    share=st.floats(0, 0.9),
)
def test_warm_restarts_are_those_of_torch(cycle_len, mult, steps_per_epoch, lr, share):
    config = WarmRestartsConfig(
        name="warm_restarts", cycle_len=cycle_len, cycle_mult=mult, eta_min=share * lr
    )
    ours = our_rates(config, 120, lr, steps_per_epoch)
    theirs = torch_rates(
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, cycle_len * steps_per_epoch, mult, share * lr
        ),
        120,
        lr,
    )
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9)


def test_a_cycle_begins_at_the_top_and_ends_just_above_the_floor():
    config = WarmRestartsConfig(name="warm_restarts", cycle_len=1, cycle_mult=2, eta_min=0.0)
    rates = our_rates(config, 70, 0.1, steps_per_epoch=10)
    for start, end in ((0, 10), (10, 30), (30, 70)):
        assert rates[start] == pytest.approx(0.1)
        assert rates[end - 1] < 0.003
        assert rates[start:end] == sorted(rates[start:end], reverse=True)


def test_constant_is_constant():
    assert set(our_rates(ConstantConfig(name="constant"), 50, 0.1, 7)) == {0.1}


@given(
    steps_per_epoch=st.integers(3, 9),
    max_epochs=st.integers(2, 9),
    lr=st.floats(1e-3, 1),
    warm_up=st.floats(0.2, 0.8),
    start_div=st.floats(2, 50),
    end_div=st.floats(2, 1e4),
)
def test_one_cycle_is_that_of_torch(steps_per_epoch, max_epochs, lr, warm_up, start_div, end_div):
    config = OneCycleConfig(name="one_cycle", warm_up=warm_up, start_div=start_div, end_div=end_div)
    steps = steps_per_epoch * max_epochs
    theirs = torch_rates(
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            lr,
            total_steps=steps,
            pct_start=warm_up,
            div_factor=start_div,
            final_div_factor=end_div,
            cycle_momentum=False,
        ),
        steps,
        lr,
    )
    ours = our_rates(config, steps, lr, steps_per_epoch, max_epochs)
    assert ours == pytest.approx(theirs, rel=1e-6)


@given(st.sets(st.integers(1, 12), min_size=1).map(sorted), st.integers(1, 9), st.floats(0.01, 0.9))
def test_steps_are_those_of_torch(milestones, steps_per_epoch, gamma):
    config = StepsConfig(name="steps", milestones=milestones, gamma=gamma)
    theirs = torch_rates(
        lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(
            optimizer, [m * steps_per_epoch for m in milestones], gamma
        ),
        120,
        0.1,
    )
    assert our_rates(config, 120, 0.1, steps_per_epoch) == pytest.approx(theirs, rel=1e-6)


def test_exponential_goes_from_one_to_the_other_in_equal_ratios():
    factors = [exponential(0.01, 100.0, 5)(step) for step in range(5)]
    assert factors == pytest.approx([0.01, 0.1, 1, 10, 100])


@pytest.mark.parametrize(
    "config",
    [
        ConstantConfig(name="constant"),
        StepsConfig(name="steps", milestones=[2, 5], gamma=0.1),
        OneCycleConfig(name="one_cycle", warm_up=0.25, start_div=25.0, end_div=1e4),
        WarmRestartsConfig(name="warm_restarts", cycle_len=0.5, cycle_mult=1, eta_min=1e-3),
        WarmRestartsConfig(name="warm_restarts", cycle_len=1, cycle_mult=2, eta_min=0.0),
    ],
    ids=["constant", "steps", "one cycle", "restarts", "longer restarts"],
)
def test_many_steps_at_once_are_the_steps_one_by_one(config):
    schedule = build_schedule(config, lr=0.1, steps_per_epoch=10, total_steps=80)
    many = factors(schedule, 3, 77)
    assert many.tolist() == pytest.approx([schedule(step) for step in range(3, 80)], rel=1e-14)


def test_a_schedule_of_any_kind_can_be_asked_for_many_steps():
    assert factors(lambda step: 1 / (step + 1), 1, 3).tolist() == [1 / 2, 1 / 3, 1 / 4]


def of_others(gives):
    class Own(SchedulerConfig):
        name: Literal["own"] = "own"

        def factors(self, step, *, steps_per_epoch, total_steps, lr):
            return gives(step, steps_per_epoch, total_steps, lr)

    return Own()


def test_a_schedule_of_others_is_told_of_the_run():
    config = of_others(lambda step, epoch, total, lr: lr * (1 - step / total) + step // epoch)
    rates = our_rates(config, 20, 0.5, steps_per_epoch=10, max_epochs=2)
    expected = [0.5 * (0.5 * (1 - step / 20) + step // 10) for step in range(20)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (lambda step, *_: step[:-1], r"Own\.factors must return a float64 array \[n\] .*\[99\]"),
        (lambda step, *_: 1.0, r"Own\.factors must return a float64 array \[n\] .*gave 1\.0"),
        (lambda step, *_: step.astype(int), r"Own\.factors must return a float64 .*int64 \[100\]"),
        (lambda step, *_: 1 - step / 50, r"factors of 0 or above; at step 51 of 100 it gave -0\.0"),
        (lambda step, *_: np.where(step == 7, np.nan, 1.0), r"at step 7 of 100 it gave nan"),
        (lambda step, *_: np.where(step == 7, np.inf, 1.0), r"at step 7 of 100 it gave inf"),
        (lambda step, *_: np.linspace(1, 0, len(step)), r"must depend on each step alone"),
    ],
)
def test_a_schedule_of_others_that_breaks_its_contract_is_named(gives, message):
    with pytest.raises(ConfigError, match=f"scheduler=own: .*{message}"):
        build_schedule(of_others(gives), lr=0.1, steps_per_epoch=10, total_steps=100)
