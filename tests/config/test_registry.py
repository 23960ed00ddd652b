"""Parts by name: ours, those that the caller registers, those of installed packages."""

import sys
from typing import Literal

import pytest
import torch
from packages import install
from support import composed
from torchmetrics import Metric

import lightning_collab
from lightning_collab.config import validated
from lightning_collab.config.data import DataConfig
from lightning_collab.config.model import ModelConfig, SquaredErrorConfig
from lightning_collab.config.optimizer import SchedulerConfig
from lightning_collab.config.registry import (
    MODELS,
    REGISTRIES,
    SCHEDULERS,
    SPLITS,
    packages_of_others,
)
from lightning_collab.config.split import SplitConfig
from lightning_collab.errors import ConfigError
from lightning_collab.losses import Loss, PointwiseLoss, SquaredError
from lightning_collab.models import EmbeddingDotBias, RatingModel

SCHEDULE = """
    from typing import Literal
    from lightning_collab.config.optimizer import SchedulerConfig

    class Halving(SchedulerConfig):
        name: Literal["halving"] = "halving"
        epochs: float = 2.0

        def factors(self, step, *, steps_per_epoch, total_steps, lr):
            return 0.5 ** (step / steps_per_epoch / self.epochs)
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("some_"):
            del sys.modules[name]


def offering(site, module="some_rates", name="halving", place="some_rates:Halving", **settings):
    install(
        site,
        settings.get("package", "some-rates"),
        settings.get("version", "1.2"),
        {f"{module}.py": settings.get("text", SCHEDULE)},
        {settings.get("group", "schedulers"): {name: place}},
    )


def test_an_installed_part_is_chosen_by_its_name(site):
    offering(site)
    chosen = composed("scheduler=halving", "scheduler.epochs=3")
    config = validated(chosen)
    assert type(config.scheduler).__module__ == "some_rates"
    assert config.scheduler.epochs == 3
    assert config.model_dump(mode="json")["scheduler"] == {"name": "halving", "epochs": 3.0}
    assert config.plugins == {"scheduler": "some-rates 1.2"}
    assert validated(config.model_dump(mode="json")) == config


def test_nothing_is_imported_until_it_is_asked_for(site):
    offering(site, text="raise SystemExit('imported')")
    assert "halving" in SCHEDULERS
    assert SCHEDULERS.names[-1] == "halving"
    assert SCHEDULERS.distribution_of("halving") == "some-rates 1.2"
    assert packages_of_others() == ["some_rates"]
    validated(composed("scheduler=constant"))
    assert "some_rates" not in sys.modules


def test_ours_need_no_look_at_what_is_installed(monkeypatch):
    monkeypatch.setattr("lightning_collab.config.registry.entry_points", None)
    validated(composed())


def test_an_unknown_name_is_answered_with_all_that_there_is(site):
    offering(site)
    config = composed()
    config["scheduler"] = {"name": "halvin"}
    with pytest.raises(ConfigError, match=r"scheduler\.name: 'halvin' .*did you mean 'halving'"):
        validated(config)
    config["scheduler"] = {"name": "zzz"}
    with pytest.raises(ConfigError, match=r"known here: constant, linear, one_cycle, .*, halving"):
        validated(config)


def test_a_key_of_an_installed_part_is_checked_as_ours_are(site):
    offering(site)
    for wrong, message in (
        ({"epoch": 3}, r"scheduler\.epoch: unknown key; did you mean 'epochs'"),
        ({"epochs": "x"}, r"scheduler\.epochs: .*valid number \(got 'x'\)"),
    ):
        config = composed()
        config["scheduler"] = {"name": "halving", **wrong}
        with pytest.raises(ConfigError, match=message):
            validated(config)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import some_package_that_is_gone", "ModuleNotFoundError: No module named 'some_pack"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("", "AttributeError: module 'some_rates' has no attribute 'Halving'"),
    ],
)
def test_one_that_cannot_be_imported_names_its_package_and_the_cause(site, text, why):
    offering(site, text=text)
    with pytest.raises(ConfigError) as refused:
        validated({**composed(), "scheduler": {"name": "halving"}})
    assert str(refused.value).startswith(
        "scheduler 'halving' of some-rates 1.2 (some_rates:Halving) cannot be imported: " + why
    )


def test_a_name_of_ours_cannot_be_taken_by_a_package(site):
    offering(site, name="one_cycle")
    assert SCHEDULERS["one_cycle"].__module__ == "lightning_collab.config.optimizer"
    with pytest.raises(ConfigError, match=r"some-rates 1\.2 offers a scheduler by the name 'one_c"):
        SCHEDULERS.names  # noqa: B018


def test_two_packages_with_one_name_are_named(site):
    offering(site)
    offering(site, package="other-rates", version="0.1", module="some_others")
    with pytest.raises(ConfigError, match=r"(some|other)-rates .* and .* both offer one"):
        SCHEDULERS["halving"]


def test_the_entry_point_and_the_class_say_the_same_name(site):
    offering(site, name="by_half")
    with pytest.raises(ConfigError, match="the entry point is 'by_half', but the class says 'halv"):
        SCHEDULERS["by_half"]


def test_a_part_of_another_kind_is_refused(site):
    offering(site, group="splits")
    with pytest.raises(ConfigError, match=r"(?s)split 'halving' of some-rates 1\.2 .*SplitConfig"):
        SPLITS["halving"]


class TinyConfig(ModelConfig):
    name: Literal["tiny"] = "tiny"
    width: int


class Tiny(RatingModel):
    config_class = TinyConfig

    def __init__(self, config, statistics):
        super().__init__(config, statistics)

    def rate(self, rows, batch, effects=None):
        return rows["embeddings"][0].sum(1)


def test_the_caller_registers_a_class_by_a_decorator():
    assert lightning_collab.register_model(Tiny) is Tiny
    config = composed()
    config["model"] = {"name": "tiny", "width": 3}
    checked = validated(config)
    assert checked.model == TinyConfig(width=3)
    assert MODELS.implementation(checked.model) is Tiny
    assert checked.plugins == {"model": f"module {__name__}"}
    assert MODELS.distribution_of("tiny") is None


def test_a_key_without_a_default_is_asked_for():
    lightning_collab.register_model(Tiny)
    config = composed()
    config["model"] = {"name": "tiny"}
    with pytest.raises(ConfigError, match=r"model\.width: a value is needed"):
        validated(config)


def test_a_subclass_that_changes_a_default_keeps_the_range_of_the_key():
    class WideConfig(TinyConfig):
        name: Literal["wide"] = "wide"
        factors: int = 8

    class Wide(Tiny):
        config_class = WideConfig

    lightning_collab.register_model(Wide)
    config = composed()
    config["model"] = {"name": "wide", "width": 3, "factors": 0}
    with pytest.raises(ConfigError, match=r"model\.factors: .*greater than or equal to 1 \(got 0"):
        validated(config)


def test_a_class_may_be_registered_again_and_another_may_not():
    lightning_collab.register_model(Tiny)
    lightning_collab.register_model(Tiny)

    class Other(Tiny):
        pass

    with pytest.raises(ConfigError, match=r"model .*Other: the name 'tiny' is taken by .*:Tiny"):
        lightning_collab.register_model(Other)


def named(base, name, **members):
    values = {"__annotations__": {"name": Literal[name]}, "__module__": __name__, **members}
    return type(base)("Part", (base,), values)


def factors(self, step, *, steps_per_epoch, total_steps, lr):
    return step


class NoDefault(Tiny):
    def __init__(self, config, statistics, further):
        pass


class OfAMetric(Metric):
    name = "share"

    def update(self, predicted, batch):
        pass


class Solved(Tiny):
    trained_by = "gibbs"


class FusedConfig(TinyConfig):
    name: Literal["fused"] = "fused"
    fused = True


class WithFused(Tiny):
    config_class = FusedConfig


class GroupsConfig(TinyConfig):
    name: Literal["groups"] = "groups"
    group_names = ("embeddings", "attention")


class WithGroups(Tiny):
    config_class = GroupsConfig


class NoMean(Tiny):
    rate = RatingModel.rate


class WithoutBatch(Tiny):
    def rate(self, rows):
        return rows


@pytest.mark.parametrize(
    ("register", "part", "message"),
    [
        ("model", 5, r"subclass of lightning_collab\.models\.rating_model\.RatingModel, and is 5"),
        ("model", TinyConfig, r"must be a subclass of .*RatingModel"),
        ("model", NoMean, r"it has no rate\(rows, batch, effects\)"),
        ("model", WithoutBatch, r"rate cannot be called as rate\(rows, batch, effects\): too many"),
        (
            "model",
            NoDefault,
            r"__init__ cannot be called as .*: missing a required argument: 'further",
        ),
        ("model", Solved, "trained by gradient descent"),
        ("model", WithFused, r"FusedConfig\.fused must be False"),
        ("model", WithGroups, r"GroupsConfig\.group_names has attention; there are embeddings"),
        ("model", type("Bare", (Tiny,), {"config_class": None}), r"config_class .*and is None"),
        ("loss", type("Bare", (), {}), r"must be a subclass of .*Loss, and is"),
        ("loss", type("Bare", (Loss,), {}), "subclass of one of PointwiseLoss, PairwiseLoss, Use"),
        ("loss", type("Bare", (PointwiseLoss,), {}), "it has no __call__"),
        (
            "loss",
            type("Fused", (SquaredError,), {"config_class": SquaredErrorConfig}),
            r"SquaredErrorConfig\.fused must be False",
        ),
        ("split", named(SplitConfig, "halves"), r"it has no split\(table\)"),
        ("source", named(DataConfig, "shop"), r"it has no load\(\)"),
        (
            "scheduler",
            named(SchedulerConfig, "root", factors=lambda self, step: step),
            r"factors cannot be called as .*got an unexpected keyword argument",
        ),
        ("scheduler", named(SchedulerConfig, "Root", factors=factors), "'Root' is not a valid"),
        (
            "scheduler",
            named(SchedulerConfig, "steps", factors=factors),
            "the name 'steps' is taken by lightning-collab itself",
        ),
        (
            "scheduler",
            type(SchedulerConfig)(
                "Bare", (SchedulerConfig,), {"factors": factors, "__module__": __name__}
            ),
            r"it has no name; give it a field `name: Literal",
        ),
        ("metric", OfAMetric, r"it has no compute\(\)"),
        (
            "metric",
            type("Bare", (OfAMetric,), {"name": None, "compute": lambda self: torch.ones(())}),
            r"it has no name; give it an attribute `name = ",
        ),
        (
            "metric",
            type("Mae", (OfAMetric,), {"name": "mae", "compute": lambda self: torch.ones(())}),
            "the name 'mae' is taken",
        ),
    ],
)
def test_what_breaks_the_contract_is_named_when_it_is_registered(register, part, message):
    with pytest.raises(ConfigError, match=message):
        getattr(lightning_collab, f"register_{register}")(part)
    assert all(not registry.names_of_others for registry in REGISTRIES.values())


def test_our_models_say_whose_config_they_have():
    for name in MODELS.names:
        config = MODELS[name]()
        assert MODELS.implementation(config).config_class is type(config)
    assert issubclass(MODELS.implementation(MODELS["embedding_dot_bias"]()), EmbeddingDotBias)


def test_the_face_offers_them_without_importing_anything_heavy():
    assert {f"register_{registry.kind}" for registry in REGISTRIES.values()} <= set(
        dir(lightning_collab)
    )
