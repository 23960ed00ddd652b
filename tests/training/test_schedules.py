import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.config.scheduler import ConstantConfig, WarmRestartsConfig
from lightning_collab.training.schedules import build_schedule


def torch_rates(make, steps, lr):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def our_rates(config, steps, lr, steps_per_epoch):
    schedule = build_schedule(config, lr=lr, steps_per_epoch=steps_per_epoch)
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
