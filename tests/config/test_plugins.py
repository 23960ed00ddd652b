"""Whose the parts of a run are: recorded as text, asked for by name, never imported by path."""

import shutil
from pathlib import Path
from typing import Literal

import pytest
import yaml
from packages import install
from support import composed

import lightning_collab
from lightning_collab.config import validated
from lightning_collab.config.optimizer import SchedulerConfig
from lightning_collab.config.plugins import changed_since, check_installed, refuse_class_paths
from lightning_collab.errors import ConfigError
from lightning_collab.runs.directory import RunDirectory

FILE = Path("run/config.yaml")
RUN = Path(__file__).parents[1] / "compatibility" / "runs" / "embedding_dot_bias"


def test_a_run_of_ours_alone_has_an_empty_record():
    assert validated(composed()).plugins == {}


def test_what_was_typed_or_saved_as_the_record_is_not_believed():
    assert validated({**composed(), "plugins": {"model": "os 3"}}).plugins == {}


def test_a_package_that_is_not_there_is_named_with_what_to_type():
    saved = {"model": {"name": "waves"}, "plugins": {"model": "wave-models 0.3.1"}}
    with pytest.raises(ConfigError) as refused:
        check_installed(saved, FILE)
    assert str(refused.value) == (
        "run/config.yaml: model=waves is of wave-models 0.3.1, which is not installed here; to "
        "install it: pip install 'wave-models==0.3.1'"
    )


def test_a_package_of_another_version_without_the_part_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "wave-models", "2.0", {}, {})
    saved = {"data": {"name": "shop"}, "plugins": {"data": "wave-models 0.3.1"}}
    with pytest.raises(ConfigError, match=r"wave-models 2\.0 is installed, which offers no 'shop'"):
        check_installed(saved, FILE)


def test_a_part_of_another_version_is_said_and_no_fault(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "wave-models", "2.0", {}, {"models": {"waves": "some_waves:Waves"}})
    saved = {"model": {"name": "waves"}, "plugins": {"model": "wave-models 0.3.1"}}
    check_installed(saved, FILE)
    assert changed_since(saved) == [
        "model=waves: it was made with wave-models 0.3.1, and the version here is wave-models 2.0"
    ]
    assert changed_since({**saved, "plugins": {"model": "wave-models 2.0"}}) == []


def test_a_part_that_a_program_registered_is_to_be_registered_again():
    saved = {"scheduler": {"name": "root"}, "plugins": {"scheduler": "module my_rates"}}
    with pytest.raises(ConfigError, match=r"module my_rates, .* lightning_collab\.register_sched"):
        check_installed(saved, FILE)


def test_a_metric_is_named_too():
    saved = {"plugins": {"metrics.share": "shares 1.0"}}
    with pytest.raises(ConfigError, match=r"metrics=share is of shares 1\.0"):
        check_installed(saved, FILE)


def test_only_the_parts_that_are_needed_are_asked_for():
    saved = {"split": {"name": "waves"}, "plugins": {"split": "wave-models 0.3.1"}}
    check_installed(saved, FILE, "model")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model": {"name": "os:system"}}, r"model\.name"),
        ({"model": {"model_class": "os.path:join"}}, r"model\.model_class"),
        ({"model": {"_target_": "os.system"}}, r"model\._target_"),
        ({"callbacks": {"further": [{"_target_": "a.B"}]}}, r"callbacks\.further\.0\._target_"),
        ({"metrics": {"further": ["a.b:C"]}}, r"metrics\.further\.0"),
        ({"data": {"name": "evil.module:Source"}}, r"data\.name"),
        ({"data": {"columns": {"_target_": {"a": 1}}}}, r"data\.columns\._target_"),
        ({"plugins": {"model": "evil:Model"}}, r"plugins\.model"),
    ],
)
def test_a_class_by_its_path_is_refused_by_its_key(changes, key):
    saved = composed()
    for group, values in changes.items():
        saved[group] = {**saved.get(group, {}), **values}
    with pytest.raises(ConfigError, match=rf"run/config\.yaml: refused: {key} names a class"):
        refuse_class_paths(saved, FILE)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"columns": {"user": "user_id:token"}}},
        {"features": {"users": {"age": {"column": "age:float"}}}},
        {"split": {"val_part": "part:val"}},
        {"data": {"path": "C:\\ratings.csv"}},
    ],
)
def test_names_in_a_persons_own_files_may_have_a_colon(changes):
    refuse_class_paths({**composed(), **changes}, FILE)


@pytest.mark.parametrize("value", ["lightning_collab.models:Missing", "os:system"])
def test_a_foreign_run_is_neither_loaded_nor_gone_on_with(value, tmp_path):
    shutil.copytree(RUN, tmp_path / "run")
    file = tmp_path / "run" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    config["model"]["name"] = value
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=r"refused: model\.name names a class by its path"):
        lightning_collab.load(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"refused: model\.name names a class by its path"):
        RunDirectory(tmp_path / "run").read_config()


def test_a_run_without_its_package_is_not_loaded(tmp_path):
    shutil.copytree(RUN, tmp_path / "run")
    file = tmp_path / "run" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    config["model"]["name"] = "waves"
    config["plugins"] = {"model": "wave-models 0.3.1"}
    file.write_text(yaml.safe_dump(config))
    for read in (lightning_collab.load, lambda path: RunDirectory(path).read_config()):
        with pytest.raises(ConfigError, match=r"pip install 'wave-models==0\.3\.1'"):
            read(tmp_path / "run")


class Waves(SchedulerConfig):
    name: Literal["waves"] = "waves"

    def factors(self, step, *, steps_per_epoch, total_steps, lr):
        return 0 * step + 1


def test_the_record_is_in_the_runs_own_config(tmp_path):
    lightning_collab.register_scheduler(Waves)
    run = RunDirectory(tmp_path)
    config = validated(composed("scheduler=waves"))
    run.write_config(config)
    saved = yaml.safe_load(run.config_file.read_text())
    assert saved["plugins"] == {"scheduler": f"module {__name__}"}
    assert run.read_config() == config
