"""Optimizers as the config says; Adam by rows against torch's own, and itself on fewer rows."""

import pytest
import torch

from lightning_collab.training.optimizers import RowAdam, build_optimizer


def stepped(config, gradients, start=(1.0, -2.0)):
    """Where a parameter ends up after some gradients."""
    parameter = torch.nn.Parameter(torch.tensor(start))
    group = {"params": [parameter], "name": "x", "lr": config.lr, "weight_decay": 0.1}
    optimizer = build_optimizer([group], config)
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter.detach()


GRADIENTS = [(0.5, 0.2), (-0.3, 0.4), (0.1, 0.0)]


def by_hand(lr, momentum, *, gradient_decay=0.0, decoupled=0.0):
    weight, velocity = torch.tensor([1.0, -2.0]), torch.zeros(2)
    for gradient in GRADIENTS:
        weight = weight * (1 - lr * decoupled)
        velocity = momentum * velocity + torch.tensor(gradient) + gradient_decay * weight
        weight = weight - lr * velocity
    return weight


def test_decay_added_to_the_gradient_by_hand(run_config):
    config = run_config("optimizer=sgd").optimizer
    expected = by_hand(0.1, 0.9, gradient_decay=0.1)
    assert torch.allclose(stepped(config, GRADIENTS), expected)


def test_decoupled_decay_of_sgd_by_hand(run_config):
    config = run_config("optimizer=sgd", "optimizer.decay=decoupled").optimizer
    assert torch.allclose(stepped(config, GRADIENTS), by_hand(0.1, 0.9, decoupled=0.1))


def test_per_row_decay_is_not_the_optimizers_business(run_config):
    config = run_config("optimizer=sgd", "optimizer.decay=per_row").optimizer
    assert torch.allclose(stepped(config, GRADIENTS), by_hand(0.1, 0.9))


def test_decoupled_decay_of_adam_is_adamw(run_config):
    adam = run_config("optimizer.decay=decoupled", "optimizer.lr=0.01").optimizer
    adamw = run_config("optimizer=adamw", "optimizer.lr=0.01").optimizer
    assert torch.equal(stepped(adam, GRADIENTS), stepped(adamw, GRADIENTS))
    assert not torch.equal(
        stepped(adam, GRADIENTS),
        stepped(run_config("optimizer.decay=gradient").optimizer, GRADIENTS),
    )


@pytest.mark.parametrize(
    ("option", "override"),
    [
        ("sgd", "optimizer.lr=0.2"),
        ("sgd", "optimizer.momentum=0.5"),
        ("sgd", "optimizer.nesterov=true"),
        ("adam", "optimizer.lr=0.2"),
        ("adam", "optimizer.beta1=0.5"),
        ("adam", "optimizer.beta2=0.5"),
        ("adam", "optimizer.eps=0.1"),
    ],
)
def test_every_hyper_parameter_changes_the_steps(option, override, run_config):
    plain = run_config(f"optimizer={option}").optimizer
    other = run_config(f"optimizer={option}", override).optimizer
    assert not torch.equal(stepped(plain, GRADIENTS), stepped(other, GRADIENTS))


BETAS, EPS = (0.7, 0.95), 1e-6


def gradients(steps, rows=5, width=3):
    random = torch.Generator().manual_seed(1)
    return [torch.randn(rows, width, dtype=torch.float64, generator=random) for _ in range(steps)]


def moved(optimizer, weight, given):
    for gradient in given:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


def row_adam(weight, **group):
    return RowAdam([{"params": [weight], "lr": 0.1, **group}], betas=BETAS, eps=EPS)


def table(rows=5):
    start = torch.arange(rows * 3, dtype=torch.float64).view(rows, 3) / 10
    return torch.nn.Parameter(start)


@pytest.mark.parametrize("lazy", [False, True])
def test_where_every_row_has_a_gradient_it_is_adam(lazy):
    ours, torchs = table(), table()
    adam = torch.optim.Adam([torchs], lr=0.1, betas=BETAS, eps=EPS)
    given = gradients(6)
    found = moved(row_adam(ours, lazy=lazy), ours, given)
    torch.testing.assert_close(found, moved(adam, torchs, given), rtol=1e-6, atol=1e-9)


def test_a_lazy_row_takes_the_steps_of_its_own_gradients_alone():
    """As if there were no others: weights, moments and bias corrections."""
    weight, alone = table(), table()
    given = gradients(8)
    mine = [0, 3, 4, 7]
    for step, gradient in enumerate(given):
        if step not in mine:
            gradient[2] = 0
    moved(row_adam(weight, lazy=True), weight, given)
    torchs = torch.optim.Adam([alone], lr=0.1, betas=BETAS, eps=EPS)
    moved(torchs, alone, [given[step] for step in mine])
    torch.testing.assert_close(weight[2], alone[2], rtol=1e-6, atol=1e-9)


def test_a_group_has_its_own_betas_and_its_state_goes_on():
    whole, parts, other = table(), table(), table()
    given = gradients(6)
    moved(row_adam(whole, lazy=True, betas=(0.5, 0.9)), whole, given)
    first = row_adam(parts, lazy=True, betas=(0.5, 0.9))
    moved(first, parts, given[:3])
    second = row_adam(parts, lazy=True, betas=(0.5, 0.9))
    second.load_state_dict(first.state_dict())
    moved(second, parts, given[3:])
    assert torch.equal(whole, parts)
    moved(row_adam(other, lazy=True), other, given)
    assert not torch.allclose(whole, other)


@pytest.mark.parametrize("lazy", [True, False])
def test_a_saved_state_follows_the_weights_to_their_device(lazy):
    """The device `meta` stands for a GPU: it is not the CPU, and is everywhere."""
    saved = row_adam(torch.nn.Parameter(torch.ones(3, 2)), lazy=lazy)
    saved.param_groups[0]["params"][0].grad = torch.ones(3, 2)
    saved.step()
    there = row_adam(torch.nn.Parameter(torch.ones(3, 2, device="meta")), lazy=lazy)
    there.load_state_dict(saved.state_dict())
    (state,) = there.state.values()
    assert {name: value.device.type for name, value in state.items()} == dict.fromkeys(
        ("step", "exp_avg", "exp_avg_sq"), "meta"
    )
