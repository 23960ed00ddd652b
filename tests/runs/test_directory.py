"""A run directory is data: nothing in its config is ever run; and names that tell runs apart."""

import re
import shlex

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from support import composed

import lightning_collab
from lightning_collab.config import validated
from lightning_collab.errors import CheckpointError, ConfigError
from lightning_collab.runs.directory import (
    LONGEST_LABEL,
    RunDirectory,
    board_name,
    label_of,
    name_of_board,
    run_suffix,
    short_keys,
)

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


@pytest.mark.parametrize(
    ("typed", "label"),
    [
        ([], ""),
        (["optimizer.lr=0.01"], "lr-0.01"),
        (["optimizer.lr=1e-3", "trainer.max_epochs=2"], "lr-1e-3_max_epochs-2"),
        (["experiment=lecture_net", "+seed=7"], "lecture_net_seed-7"),
        (["model.hidden=[20,10]"], "hidden-20-10"),
        (["hydra.run.dir=a/b", "data.root=/home/me", "logger=[csv]", "resume=null"], ""),
        (["~callbacks.report"], ""),
    ],
)
def test_the_label_says_what_was_typed_and_changes_the_run(typed, label):
    assert label_of(typed) == label


@given(st.lists(st.text(max_size=30), max_size=4))
def test_no_label_has_to_be_quoted(typed):
    label = label_of([f"model.key={each}" for each in typed])
    assert len(label) <= LONGEST_LABEL
    assert shlex.quote(f"0_{label}") == f"0_{label}"
    run = f"outputs/train/2026-01-01{run_suffix('a_model', 'bpr', typed)}"
    assert OverridesParser.create().parse_override(f"run={run}").value() == run


def test_the_usual_loss_is_not_told():
    assert run_suffix("embedding_net", "squared_error") == "_embedding_net"
    assert run_suffix("embedding_net", "bpr", ["seed=3"]) == "_embedding_net_bpr_seed-3"
    assert run_suffix(None, None) == ""


NAMES = ("test/rmse", "train/loss", "val/ndcg@10", "lr-Adam/biases", "lr-SGD", "embeddings/x")


def test_scalars_are_found_again_by_their_names():
    assert [name_of_board(board_name(name)) for name in NAMES] == list(NAMES)
    assert {re.split("/", board_name(name))[0] for name in NAMES} == {"test", "train", "val"}
    # Those of an earlier version.
    assert [name_of_board(name) for name in NAMES] == list(NAMES)


def test_keys_are_called_by_as_many_last_parts_as_tell_them_apart():
    keys = [
        "optimizer.lr",
        "optimizer.weight_decay",
        "optimizer.groups.biases.weight_decay",
        "seed",
    ]
    assert list(short_keys(keys).values()) == [
        *("lr", "optimizer.weight_decay", "biases.weight_decay", "seed")
    ]
    assert short_keys(["a.b", "b"]) == {"a.b": "a.b", "b": "b"}
