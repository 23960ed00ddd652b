"""Optimizers of torch by the name of their class: steps, settings, decay, and what is refused."""

import re

import pytest
import torch

from lightning_collab.config import validated
from lightning_collab.config.run import unsupported_reason
from lightning_collab.errors import ConfigError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.lr_range_test import run_lr_range_test
from lightning_collab.training.optimizers import build_optimizer
from lightning_collab.training.parts import check_parts
from lightning_collab.training.run import train
from lightning_collab.training.torch_optimizers import DECOUPLED, NOT_SHARDED, REFUSED

CLASSES = sorted(
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name not in REFUSED
)
GRADIENTS = [(0.5, 0.2), (-0.3, 0.4), (0.1, 0.0)]
QUICK = ("callbacks.progress_bar=false", "logger=none", "data.batch_size=64", "model.factors=4")


@pytest.fixture
def config_of(run_config):
    def config(name, *overrides):
        return run_config("optimizer=torch", f"optimizer.class_name={name}", *overrides)

    return config


@pytest.fixture(scope="module")
def named(run_config):
    """The same without composing, which takes longer than what most tests here do."""
    plain = run_config("optimizer=torch", "optimizer.class_name=Adam").model_dump(mode="json")

    def config(name, **optimizer):
        changed = {**plain["optimizer"], "class_name": name, **optimizer}
        return validated({**plain, "optimizer": changed})

    return config


def stepped(optimizer, parameter):
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    return parameter.detach()


def ours(config, decay=0.1):
    parameter = torch.nn.Parameter(torch.tensor([[1.0, -2.0]]))
    lr = config.optimizer.lr
    group = {"params": [parameter], "name": "embeddings", "lr": lr, "weight_decay": decay}
    return stepped(build_optimizer([group], config.optimizer), parameter)


def torchs(kind, **settings):
    parameter = torch.nn.Parameter(torch.tensor([[1.0, -2.0]]))
    return stepped(kind([parameter], **settings), parameter)


def test_rmsprop_by_hand(config_of):
    weight, square = torch.tensor([[1.0, -2.0]]), torch.zeros(1, 2)
    for gradient in torch.tensor(GRADIENTS):
        square = 0.9 * square + 0.1 * gradient**2
        weight = weight - 0.05 * gradient / (square.sqrt() + 1e-8)
    config = config_of("RMSprop", "optimizer.settings={alpha: 0.9}", "optimizer.lr=0.05")
    assert torch.allclose(ours(config), weight)


def test_lists_are_the_tuples_that_torch_takes(config_of):
    config = config_of("Adam", "optimizer.settings={betas: [0.5, 0.6], amsgrad: true}")
    expected = torchs(torch.optim.Adam, lr=0.003, betas=(0.5, 0.6), amsgrad=True)
    assert torch.equal(ours(config), expected)


@pytest.mark.parametrize("name", ["RMSprop", "Adagrad", "NAdam", "SGD"])
def test_decay_on_the_gradient_is_torchs_own(name, named):
    expected = torchs(getattr(torch.optim, name), lr=0.003, weight_decay=0.1)
    assert torch.equal(ours(named(name, decay="gradient")), expected)
    assert not torch.equal(ours(named(name)), expected)


@pytest.mark.parametrize("name", ["AdamW", "Adafactor", "Muon"])
def test_decoupled_decay_is_torchs_own(name, named):
    expected = torchs(getattr(torch.optim, name), lr=0.003, weight_decay=0.1)
    assert torch.equal(ours(named(name, decay="decoupled")), expected)


@pytest.mark.parametrize("name", ["Adam", "NAdam", "RAdam"])
def test_some_decouple_when_asked(name, named):
    kind = getattr(torch.optim, name)
    expected = torchs(kind, lr=0.003, weight_decay=0.1, decoupled_weight_decay=True)
    assert torch.equal(ours(named(name, decay="decoupled")), expected)
    assert not torch.equal(ours(named(name, decay="gradient")), expected)


@pytest.mark.parametrize("name", CLASSES)
def test_per_row_decay_is_not_the_optimizers_business(name, named):
    without = {} if name == "Rprop" else {"weight_decay": 0}
    expected = torchs(getattr(torch.optim, name), lr=0.003, **without)
    assert torch.equal(ours(named(name, decay="per_row")), expected)


@pytest.mark.parametrize("form", ["gradient", "decoupled"])
@pytest.mark.parametrize("name", CLASSES)
def test_each_form_of_decay_is_honoured_or_refused(name, form, named):
    """Honoured: another decay gives other steps. This needs no knowledge of the class."""
    config = named(name, decay=form)
    refused = None
    try:
        check_parts(config)
    except ConfigError as error:
        refused = str(error)
    if refused is None:
        assert not torch.equal(ours(config, decay=0.1), ours(config, decay=0.5))
        assert name not in DECOUPLED or form == "decoupled"
    else:
        assert f"optimizer.decay={form}: torch.optim.{name} " in refused
        for advice in re.findall(r"optimizer\.decay=(\w+)", refused.split("; set ")[1]):
            check_parts(named(name, decay=advice))
        check_parts(named(name, decay=form, weight_decay=0.0))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["class_name=rmsprop"], "no optimizer 'rmsprop'; did you mean 'RMSprop'?"),
        (["class_name=torch.optim.NAdam"], "did you mean 'NAdam'?"),
        (["class_name=lr_scheduler"], "no optimizer 'lr_scheduler'; known here: ASGD, Adadelta"),
        (["class_name=Optimizer"], "torch.optim.Optimizer is not supported"),
        (["class_name=LBFGS"], "torch.optim.LBFGS is not supported: it evaluates the loss"),
        (["class_name=SparseAdam"], "torch.optim.SparseAdam is not supported: it takes sparse"),
        (
            ["class_name=RMSprop", "settings={alpa: 0.9}"],
            "optimizer.settings.alpa: torch.optim.RMSprop takes no alpa, but alpha, eps, momentum",
        ),
        (["class_name=RMSprop", "settings={alpa: 0.9}"], "did you mean 'alpha'?"),
        (["class_name=RMSprop", "settings={alpha: -1}"], "refuses: Invalid alpha value: -1"),
        (["class_name=Adam", "settings={betas: [0.9]}"], "optimizer.settings={betas: [0.9]}: "),
        # Only a step shows these.
        (["class_name=Adam", "settings={differentiable: true}"], "a leaf Variable"),
        (["class_name=Adam", "settings={capturable: true}"], "must be on supported devices"),
    ],
)
def test_what_torch_cannot_do_is_refused(overrides, message, run_config):
    config = run_config("optimizer=torch", *(f"optimizer.{each}" for each in overrides))
    with pytest.raises(ConfigError) as refused:
        check_parts(config)
    assert message in str(refused.value)
    assert "\n  optimizer." in str(refused.value)


def test_what_is_advised_for_sparse_gradients_works(run_config):
    advice = [word for word in REFUSED["SparseAdam"].split() if "=" in word]
    assert run_config(*advice).optimizer.sparse_gradients


def test_layers_that_a_class_does_not_take_are_refused_with_the_model(config_of, named):
    check_parts(named("Muon"))
    with pytest.raises(ConfigError, match="Muon only supports 2D"):
        check_parts(config_of("Muon", "model=embedding_net"))


@pytest.mark.parametrize("name", NOT_SHARDED)
def test_split_tables_are_for_some(name, config_of):
    config = config_of(name, "trainer=ddp_cpu", "model.sharding=row")
    with pytest.raises(ConfigError, match=f"torch.optim.{name} takes no steps on tables"):
        check_parts(config)
    check_parts(config_of("RMSprop", "trainer=ddp_cpu", "model.sharding=row"))


@pytest.mark.parametrize("key", ["lr", "weight_decay", "decoupled_weight_decay", "params"])
def test_settings_that_have_a_key_are_refused_by_the_config_alone(key, named):
    with pytest.raises(ConfigError, match=rf"optimizer\.settings\.{key}: not set here; set opti"):
        named("RMSprop", settings={key: 0.1})


def test_a_class_is_needed(run_config):
    with pytest.raises(ConfigError, match=r"optimizer\.class_name: set optimizer\.class_name=<"):
        run_config("optimizer=torch")


def test_there_are_no_fused_kernels_for_it(config_of):
    reason = unsupported_reason("fused", config_of("RMSprop"))
    assert reason == "there are no fused kernels for torch.optim.RMSprop"
    with pytest.raises(ConfigError, match=r"training\.engine=fused: there are no fused kernels"):
        config_of("RMSprop", "training.engine=fused")
    with pytest.raises(ConfigError, match=r"training\.row_updates=lazy"):
        config_of("RMSprop", "training.row_updates=lazy")


def test_a_saved_config_is_the_same_config(config_of):
    config = config_of("Adam", "optimizer.settings={betas: [0.5, 0.6]}")
    assert validated(config.model_dump(mode="json")) == config


@pytest.fixture
def trained(small_table, tmp_path):
    count = iter(range(100))

    def run(config, resume=None):
        directory = resume or RunDirectory(tmp_path / f"run{next(count)}")
        directory.path.mkdir(exist_ok=True)
        data = load_data(config, small_table)
        train(config, directory, resume=resume is not None, data=data)
        return directory

    return run


def weights(run):
    return read_checkpoint(run.last_checkpoint)["state_dict"]


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


# Of those that are alike, one.
FAST = ("RMSprop", "ASGD", "Adafactor", "Muon")


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.slow] * (each not in FAST)) for each in CLASSES]
)
def test_a_resumed_run_is_an_uninterrupted_one(name, config_of, trained):
    # A length of one cycle, so that its schedule does not depend on the number of epochs.
    common = (*QUICK, "scheduler.cycle_mult=1", "optimizer.lr=0.02")
    whole = trained(config_of(name, *common, "trainer.max_epochs=2"))
    half = trained(config_of(name, *common, "trainer.max_epochs=1"))
    before = weights(half)
    trained(config_of(name, *common, "trainer.max_epochs=2"), resume=half)
    assert same(weights(whole), weights(half))
    assert not same(before, weights(half))


COMMON = (*QUICK, "trainer.max_epochs=2", "optimizer.lr=0.02", "model.init_range=0.3")


@pytest.fixture(scope="module")
def plain(run_config, small_table, tmp_path_factory):
    """The weights that a run ends with."""
    config = run_config("optimizer=torch", "optimizer.class_name=RMSprop", *COMMON)
    run = RunDirectory(tmp_path_factory.mktemp("plain"))
    train(config, run, data=load_data(config, small_table))
    return weights(run)


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.settings={alpha: 0.5}",
        "optimizer.lr=0.05",
        "optimizer.weight_decay=0",
        "optimizer.decay=gradient",
        "optimizer.groups.biases.lr_scale=0.5",
        "optimizer.groups.biases.weight_decay=3",
        "scheduler=one_cycle",
        "averaging=ema",
        "trainer.gradient_clip_val=0.001",
    ],
)
def test_everything_around_it_changes_the_result(override, config_of, trained, plain):
    assert not same(plain, weights(trained(config_of("RMSprop", *COMMON, override))))


def test_a_frozen_group_stays_as_it_was_drawn(config_of, trained):
    frozen = "optimizer.groups.biases.lr_scale=0"
    one = weights(trained(config_of("RMSprop", *QUICK, frozen, "trainer.max_epochs=1")))
    two = weights(trained(config_of("RMSprop", *QUICK, frozen, "trainer.max_epochs=3")))
    assert torch.equal(one["model.user_bias.weight"][1:], two["model.user_bias.weight"][1:])
    assert not torch.equal(one["model.user_factors.weight"], two["model.user_factors.weight"])


def test_a_learning_rate_is_found_for_it(config_of, small_table):
    config = config_of("RMSprop", *QUICK, "lr_range_test.steps=60")
    data = load_data(config, small_table)
    found = run_lr_range_test(config, data)
    adam = run_lr_range_test(config.model_copy(update={"optimizer": validated_adam(config)}), data)
    assert found.suggestions["steepest"] > 0
    assert found.losses.tolist() != adam.losses.tolist()


def validated_adam(config):
    values = config.model_dump(mode="json")
    del values["optimizer"]["class_name"], values["optimizer"]["settings"]
    values["optimizer"]["name"] = "adam"
    return validated(values).optimizer


def test_a_wrong_class_is_told_before_any_data_is_read(named, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_collab.training.run.load_data", lambda *_: pytest.fail("read"))
    with pytest.raises(ConfigError, match="did you mean 'RMSprop'"):
        train(named("RMSpro"), RunDirectory(tmp_path / "run"))
    assert not any((tmp_path / "run").iterdir())
