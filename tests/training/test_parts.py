"""Callbacks of other packages, made from what is typed and never from a saved run."""

import logging

import pytest
import watching
import yaml

from lightning_collab.errors import ConfigError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.cross_validation import FoldRun
from lightning_collab.training.parts import further_callbacks
from lightning_collab.training.run import train

QUICK = ("callbacks.progress_bar=false", "logger=csv", "data.batch_size=64", "model.factors=4")
TYPED = "callbacks.further=[{_target_: watching.EveryEpochs, every: 2}]"


@pytest.fixture
def trained(small_table, run_config, tmp_path):
    watching.SEEN.clear()

    def run(*overrides, resume=False):
        directory = RunDirectory(tmp_path / "run")
        directory.path.mkdir(exist_ok=True)
        config = run_config(*QUICK, *overrides)
        if resume:
            before = directory.read_config().callbacks.further_classes
            callbacks = config.callbacks.model_copy(update={"further_classes": before})
            config = config.model_copy(update={"callbacks": callbacks})
        data = load_data(config, small_table)
        train(config, directory, data=data, resume=resume)
        return directory

    return run


def test_they_see_the_training_and_the_run_does_not_keep_them(trained):
    run = trained(TYPED, "trainer.max_epochs=4")
    assert watching.SEEN == [(2, 2), (2, 4)]
    kept = (run.config_file.read_text(), (run.csv / "hparams.yaml").read_text())
    saved = str(read_checkpoint(run.last_checkpoint)["config"])
    assert "_target_" not in "".join([*kept, saved])
    assert yaml.safe_load(kept[0])["callbacks"]["further_classes"] == ["watching.EveryEpochs"]


def test_a_resumed_run_says_what_it_had_and_takes_what_is_typed_again(trained, caplog):
    trained(TYPED, "trainer.max_epochs=2")
    watching.SEEN.clear()
    with caplog.at_level(logging.WARNING, logger="lightning_collab"):
        trained("trainer.max_epochs=4", resume=True)
    said = [record.getMessage() for record in caplog.records if "further" in record.getMessage()]
    assert len(said) == 1
    assert "(watching.EveryEpochs), which are not saved with it" in said[0]
    assert watching.SEEN == []
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="lightning_collab"):
        run = trained(TYPED, "trainer.max_epochs=6", resume=True)
    assert not [record for record in caplog.records if "further" in record.getMessage()]
    assert watching.SEEN == [(2, 6)]
    assert run.read_config().callbacks.further_classes == ["watching.EveryEpochs"]


def made(run_config, *targets):
    return further_callbacks(run_config(f"callbacks.further=[{','.join(targets)}]").callbacks)


def test_several_with_plain_arguments_and_others_inside(run_config):
    inner = "{_target_: watching.EveryEpochs, every: 5}"
    one, two = made(
        run_config,
        "{_target_: watching.EveryEpochs, every: 3, inner: {a: [1, 2]}}",
        f"{{_target_: watching.EveryEpochs, inner: {inner}}}",
    )
    assert (one.every, one.inner, type(one.inner)) == (3, {"a": [1, 2]}, dict)
    assert two.inner.every == 5


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "{_target_: no_such_package.Callback}",
            "no_such_package.Callback cannot be imported: No module named 'no_such_package'",
        ),
        ("{_target_: watching.EveryEpoch}", "watching.EveryEpoch cannot be imported: "),
        (
            "{_target_: watching.EveryEpochs, evry: 2}",
            "further.0: watching.EveryEpochs cannot be made: TypeError: ",
        ),
        (
            "{_target_: watching.EveryEpochs, every: 0}",
            "cannot be made: ValueError: every: at least 1",
        ),
        ("{_target_: watching.NoCallback}", "watching.NoCallback makes a NoCallback, which is"),
        ("{_target_: watching.SEEN}", "callbacks.further.0"),
    ],
)
def test_what_cannot_be_made_is_told(target, message, run_config):
    with pytest.raises(ConfigError) as refused:
        made(run_config, target)
    assert message in str(refused.value)
    assert "callbacks.further.0" in str(refused.value)


def test_it_is_told_before_any_data_is_read(run_config, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_collab.training.run.load_data", lambda *_: pytest.fail("read"))
    config = run_config("callbacks.further=[{_target_: no_such_package.Callback}]")
    with pytest.raises(ConfigError, match="No module named 'no_such_package'"):
        train(config, RunDirectory(tmp_path / "run"))
    assert not any((tmp_path / "run").iterdir())


def test_a_fold_with_further_callbacks_is_known_as_done(trained, run_config):
    run = trained(TYPED, "trainer.max_epochs=1")
    (run.path / "user_errors.parquet").touch()
    config = run_config(*QUICK, TYPED, "trainer.max_epochs=1")
    assert FoldRun("x", 1, 1, config, run).done
    assert not FoldRun("x", 1, 1, run_config(*QUICK, "trainer.max_epochs=1"), run).done
