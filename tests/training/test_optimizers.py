import pytest
import torch

from lightning_collab.training.optimizers import build_optimizer


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
