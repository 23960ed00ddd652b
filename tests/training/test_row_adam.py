"""Adam by rows against torch's own, and against itself on fewer rows."""

import pytest
import torch

from lightning_collab.training.optimizers import RowAdam

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
