"""A run directory is data: nothing in its config is ever run."""

import pytest
import yaml
from support import composed

import lightning_collab
from lightning_collab.config import validated
from lightning_collab.errors import CheckpointError, ConfigError
from lightning_collab.runs.directory import RunDirectory

TYPED = "callbacks.further=[{_target_: a_package.Callback}]"


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("callbacks.further", [{"_target_": "os.system"}], "callbacks.further.0._target_"),
        ("optimizer.x", {"y": {"_target_": "os.system"}}, "optimizer.x.y._target_"),
        ("model", {"_target_": "os.system"}, "model._target_"),
    ],
)
def test_a_foreign_run_that_names_code_is_refused_by_its_key(key, value, named, tmp_path):
    config = composed()
    section, _, last = key.rpartition(".")
    (config[section] if section else config)[last] = value
    run = RunDirectory(tmp_path)
    run.config_file.write_text(yaml.safe_dump(config))
    for read in (run.read_config, run.read_plain_config, lambda: lightning_collab.load(tmp_path)):
        with pytest.raises(ConfigError) as refused:
            read()
        assert f"config.yaml: refused: {named} names a class by its path" in str(refused.value)


def test_a_run_with_further_callbacks_does_not_keep_them(tmp_path):
    run = RunDirectory(tmp_path)
    config = validated(composed(TYPED))
    run.write_config(config)
    assert "_target_" not in run.config_file.read_text()
    assert run.read_config() == config.as_kept()
    assert run.read_config().callbacks.further_classes == ["a_package.Callback"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer.lr", "${oc.env:SECRET}"),
        ("trainer.precision", "32-${oc.env:SECRET}"),
        ("callbacks.report.map", "${seed}"),
    ],
)
def test_a_foreign_config_with_an_interpolation_is_refused_by_its_key(
    key, value, tmp_path, monkeypatch
):
    monkeypatch.setenv("SECRET", "s3cret")
    config = composed()
    *path, last = key.split(".")
    node = config
    for step in path:
        node = node[step]
    node[last] = value
    run = RunDirectory(tmp_path)
    run.config_file.write_text(yaml.safe_dump(config))
    for read in (run.read_config, run.read_plain_config, lambda: lightning_collab.load(tmp_path)):
        with pytest.raises(ConfigError) as refused:
            read()
        assert f"config.yaml: refused: {key} is an interpolation ({value})" in str(refused.value)
        assert "s3cret" not in str(refused.value)


def test_a_config_that_is_no_text_is_named(tmp_path):
    run = RunDirectory(tmp_path)
    run.config_file.write_bytes(b"seed: 42\nname: caf\xe9\n")
    with pytest.raises(CheckpointError, match=r"config\.yaml: not text in UTF-8: byte 19 is 0xe9"):
        run.read_config()


@pytest.mark.parametrize(
    "text", ["[1, 2]", "NaN", '{"val/rmse": [0.9]}', '{"a": {"b": 1}}', "{", "\xe9", '"text"']
)
def test_numbers_of_a_run_that_are_none_are_refused(text, tmp_path):
    run = RunDirectory(tmp_path)
    run.metrics_file.write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"metrics\.json: not "):
        run.read_metrics()
