import os
import pickle

import pytest
import torch

from lightning_collab.errors import CheckpointError, StorageError
from lightning_collab.training.checkpoints import read_checkpoint
from lightning_collab.training.safe_checkpoint_io import SafeCheckpointIO

CONTENT = {"state_dict": {"w": torch.arange(1000.0)}, "epoch": 3}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    SafeCheckpointIO().save_checkpoint(CONTENT, path)
    return path


def test_what_was_saved_is_read(saved):
    content = read_checkpoint(saved)
    assert content["epoch"] == 3
    assert torch.equal(content["state_dict"]["w"], CONTENT["state_dict"]["w"])
    assert [path.name for path in saved.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("size", [0, 10, 1000, -1])
def test_a_file_that_is_cut_short_is_named(saved, size):
    whole = saved.read_bytes()
    saved.write_bytes(whole[:size])
    with pytest.raises(CheckpointError, match=r"last\.ckpt: not a whole checkpoint"):
        read_checkpoint(saved)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"best\.ckpt: there is no such checkpoint"):
        read_checkpoint(tmp_path / "best.ckpt")


def test_a_file_of_something_else_is_named(tmp_path):
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match="without a model"):
        read_checkpoint(tmp_path / "list.ckpt")


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("writer", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_a_checkpoint_cannot_run_code(tmp_path, writer):
    path, target = tmp_path / "planted.ckpt", tmp_path / "owned"
    writer({"state_dict": {}, "x": Malicious(target)}, path)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not target.exists()


def test_a_failed_save_leaves_the_file_before_it(saved, monkeypatch):
    def cut_short(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", cut_short)
    with pytest.raises(StorageError, match=r"last\.ckpt: No space left"):
        SafeCheckpointIO().save_checkpoint(CONTENT, saved)
    monkeypatch.undo()
    assert read_checkpoint(saved)["epoch"] == 3
    assert [path.name for path in saved.parent.iterdir()] == ["last.ckpt"]
