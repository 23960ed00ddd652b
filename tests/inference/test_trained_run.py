import shutil
import subprocess
import sys

import pytest
import torch
import yaml

import lightning_collab
from lightning_collab.errors import CheckpointError, ConfigError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.training.build import build_module


@pytest.fixture
def copy(film_run, tmp_path):
    """The run in another place, to be damaged."""
    path = tmp_path / "copy"
    shutil.copytree(film_run.directory.path, path)
    return path


@pytest.mark.parametrize("which", ["best", "last"])
def test_the_loaded_model_predicts_what_the_trained_one_did(film_run, which):
    loaded = lightning_collab.load(film_run.directory.path, which)
    module = build_module(film_run.config, film_run.data)
    path = film_run.directory.checkpoints / f"{which}.ckpt"
    module.load_trained(read_checkpoint(path), path)
    batch = next(iter(film_run.data.batches(film_run.data.rows.test)))
    with torch.no_grad():
        assert torch.equal(loaded.model(batch), module.model.eval()(batch))


def test_rows_of_items_and_users_are_those_of_the_model(film_run):
    loaded = lightning_collab.load(film_run.directory.path)
    assert loaded.items["item"].equals(loaded.item_vocabulary.ids)
    assert loaded.users["user"].equals(loaded.user_vocabulary.ids)
    assert loaded.item_vocabulary.without_cold() == film_run.data.item_vocabulary
    assert loaded.item_vocabulary.ids[-1] == 99
    assert loaded.items["ratings"][-1] == 0
    assert loaded.unseen_items.is_empty()
    assert loaded.rating_range == (1.0, 5.0)
    assert not loaded.model.training


def test_a_moved_run_loads_without_the_ratings(copy, film_run):
    loaded = lightning_collab.load(copy)
    assert loaded.checkpoint == copy / "checkpoints" / "best.ckpt"


def test_without_best_the_last_is_taken(copy):
    (copy / "checkpoints" / "best.ckpt").unlink()
    assert lightning_collab.load(copy).checkpoint.name == "last.ckpt"


def test_a_run_without_checkpoints_says_so(copy):
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(CheckpointError, match=r"no checkpoint .*best\.ckpt nor last\.ckpt"):
        lightning_collab.load(copy)


def test_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="not a run directory"):
        lightning_collab.load(tmp_path)


@pytest.mark.parametrize("name", ["items.parquet", "users.parquet"])
def test_missing_or_damaged_tables_are_named(copy, name):
    (copy / name).write_bytes(b"PAR1 nonsense")
    with pytest.raises(CheckpointError, match=f"{name}: altered, or only partly copied"):
        lightning_collab.load(copy)
    (copy / "sums.json").unlink()
    with pytest.raises(CheckpointError, match=f"{name}: not readable"):
        lightning_collab.load(copy)
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}: it does not exist"):
        lightning_collab.load(copy)


def test_a_table_of_another_run_is_refused(copy, film_run):
    loaded = lightning_collab.load(copy)
    loaded.items[1:].write_parquet(copy / "items.parquet")
    (copy / "sums.json").unlink()
    with pytest.raises(CheckpointError, match="not those of the checkpoint"):
        lightning_collab.load(copy)


def test_a_config_of_another_version_loads_as_long_as_its_model_is_known(copy):
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["a_key_of_the_future"] = 1
    del config["trainer"]["precision"]
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert lightning_collab.load(copy).config["a_key_of_the_future"] == 1
    config["model"]["a_key_of_the_future"] = 1
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=r"model\..*a_key_of_the_future") as error:
        lightning_collab.load(copy)
    assert "Use the one that made the run (commit " in str(error.value)
    assert "or train it again with this one" in str(error.value)


def test_a_checkpoint_of_another_program_is_refused(copy):
    path = copy / "checkpoints" / "best.ckpt"
    content = read_checkpoint(path)
    del content["vocabularies"]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="it has no vocabularies"):
        lightning_collab.load(copy)


def test_a_table_of_something_else_is_refused(copy):
    (copy / "items.parquet").write_bytes((copy / "users.parquet").read_bytes())
    (copy / "sums.json").unlink()
    with pytest.raises(CheckpointError, match="its items are not those of the checkpoint"):
        lightning_collab.load(copy)


def test_another_model_than_the_checkpoint_is_refused(copy):
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["model"]["factors"] = 3
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match="does not match the model"):
        lightning_collab.load(copy)


def test_importing_the_library_loads_no_torch():
    code = (
        "import sys, lightning_collab; assert 'torch' not in sys.modules, 'torch';"
        "assert 'load' in dir(lightning_collab)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = lightning_collab.no_such_name
