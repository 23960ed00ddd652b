"""Config groups and options of others: after ours, and for our commands alone."""

import logging
import sys
from typing import Literal

import pytest
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from packages import install
from support import CONF, composed

import lightning_collab
from hydra_plugins.lightning_collab_sweepers.further_configs import FurtherConfigs
from lightning_collab.commands.help import help_text
from lightning_collab.config.optimizer import SchedulerConfig
from lightning_collab.errors import ConfigError
from lightning_collab.runs import invocation


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, of which one has config groups and offers two parts."""
    install(
        tmp_path / "site",
        "some-parts",
        "1.2",
        {
            "some_parts/__init__.py": "raise SystemExit('imported')",
            "some_parts/conf/experiment/parts.yaml": "# @package _global_\nseed: 7\n",
            "some_parts/conf/model/waves.yaml": "name: waves\nlength: 3\n",
        },
        {
            "models": {"waves": "some_parts.model:Waves"},
            "splits": {"waves": "some_parts.split:Waves"},
        },
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(invocation, "_said", set())
    return tmp_path / "site"


def searched(main=str(CONF)):
    path = ConfigSearchPathImpl()
    path.append("main", main)
    FurtherConfigs().manipulate_search_path(path)
    return [each.path for each in path.get_path()[1:]]


def test_a_packages_folder_is_found_and_the_package_not_imported(site, tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path)
    own = (tmp_path / "conf").as_uri()
    assert searched() == [own, (site / "some_parts/conf").as_uri(), "lightning-collab://"]
    config = composed("experiment=parts", "model=waves")
    assert (config["seed"], config["model"]["length"]) == (7, 3)
    assert "some_parts" not in sys.modules


def test_other_programs_see_nothing_of_it(site):
    assert searched("/somebody/elses") == []


def test_help_lists_what_packages_offer_and_imports_none(site):
    said = help_text("train", ["--help"])
    assert "experiment: clicks_example" in said
    assert ", parts\n" in said
    assert "model: bayesian_factors, ease, embedding_dot_bias, embedding_net, " in said
    assert ", waves\n" in said.split("\nmodel: ")[1][:200]
    assert ", waves\n" in said.split("\nsplit: ")[1][:200]
    assert "some_parts" not in sys.modules


def test_a_file_in_the_place_of_one_of_ours_is_ignored_and_that_is_said_once(site, caplog):
    hidden = site / "some_parts/conf/model/embedding_net.yaml"
    hidden.write_text("name: embedding_net\nfactors: 1\n")
    with caplog.at_level(logging.WARNING):
        assert composed("model=embedding_net")["model"]["factors"] == 50
        composed()
    assert caplog.messages == [
        f"{hidden} is ignored: {CONF / 'model/embedding_net.yaml'} comes first"
    ]


def test_several_such_files_are_one_line(site, caplog):
    for option in ("embedding_net", "matrix_product", "least_squares_factors"):
        (site / f"some_parts/conf/model/{option}.yaml").write_text("name: x\n")
    composed()
    (said,) = caplog.messages
    assert said.endswith("comes first, and so are 2 others there")


HALVING = """
    from typing import Literal
    from lightning_collab.config.optimizer import SchedulerConfig

    class Halving(SchedulerConfig):
        name: Literal["halving"] = "halving"
        epochs: float = 2.0
        first: int

        def factors(self, step, *, steps_per_epoch, total_steps, lr):
            return 0.5 ** (step / steps_per_epoch / self.epochs)
"""


@pytest.fixture
def halving(tmp_path, monkeypatch):
    install(
        tmp_path,
        "some-rates",
        "1.0",
        {"some_rates.py": HALVING},
        {"schedulers": {"halving": "some_rates:Halving"}},
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("some_rates", None)


def test_a_part_without_a_file_is_an_option_with_the_defaults_of_its_type(halving):
    config = composed("scheduler=halving", "scheduler.first=3")
    assert config["scheduler"] == {"name": "halving", "epochs": 2.0, "first": 3}


def test_a_key_that_has_no_default_must_be_set(halving):
    from hydra import compose, initialize_config_dir

    from lightning_collab.config.compose import composed_run

    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose("train", ["scheduler=halving"]).scheduler.name == "halving"
        with pytest.raises(ConfigError, match=r"scheduler\.first: a value is needed"):
            composed_run("scheduler=halving")


def test_what_the_caller_has_registered_is_an_option_too():
    class Own(SchedulerConfig):
        name: Literal["own"] = "own"
        strength: float = 1.5

        def factors(self, step, *, steps_per_epoch, total_steps, lr):
            return step

    lightning_collab.register_scheduler(Own)
    assert composed("scheduler=own")["scheduler"] == {"name": "own", "strength": 1.5}
