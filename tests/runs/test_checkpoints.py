import io
import os
import pickle
import random
import zipfile

import pytest
import torch

from lightning_collab.errors import CheckpointError, StorageError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.training.trainer import SafeCheckpointIO

CONTENT = {"state_dict": {"w": torch.arange(1000.0)}, "vocabularies": {}, "config": {}, "epoch": 3}


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
    with pytest.raises(CheckpointError, match=r"last\.ckpt: not a complete checkpoint"):
        read_checkpoint(saved)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"best\.ckpt: there is no such checkpoint"):
        read_checkpoint(tmp_path / "best.ckpt")


def test_a_file_of_something_else_is_named(tmp_path):
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match="not a model"):
        read_checkpoint(tmp_path / "list.ckpt")


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


WRITERS = {
    "as torch writes": torch.save,
    "as torch once wrote": lambda o, p: torch.save(o, p, _use_new_zipfile_serialization=False),
    "pickle": lambda o, p: p.write_bytes(pickle.dumps(o, protocol=2)),
    "newer pickle": lambda o, p: p.write_bytes(pickle.dumps(o)),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_planted_checkpoint_runs_nothing_and_that_is_said(tmp_path, writer):
    path, target = tmp_path / "planted.ckpt", tmp_path / "owned"
    WRITERS[writer]({**CONTENT, "x": Malicious(target)}, path)
    with pytest.raises(CheckpointError, match="None of it was executed") as raised:
        read_checkpoint(path)
    assert "weights_only" not in str(raised.value), "torch advises to run it"
    if writer.startswith("as torch"):
        assert "planted.ckpt: refused: beside tensors and plain values it holds posix.mkdir" in str(
            raised.value
        )
    assert not target.exists()
    pickle.loads(pickle.dumps(Malicious(target)))
    assert target.exists(), "the payload would have run"


def test_a_packed_checkpoint_is_refused_before_it_fills_the_memory(saved):
    content = saved.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as plain, zipfile.ZipFile(saved, "w") as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="refused: it would unpack to more than its"):
        read_checkpoint(saved)


@pytest.mark.parametrize("key", sorted(CONTENT.keys() - {"epoch"}))
def test_a_checkpoint_of_another_program_is_named(tmp_path, key):
    torch.save({k: v for k, v in CONTENT.items() if k != key}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=f"not a model of lightning-collab .it has no {key}"):
        read_checkpoint(tmp_path / "other.ckpt")


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


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_bit_is_never_taken_for_weights(saved, seed):
    """A hundred places each: the content is what was written, or the file is refused by name."""
    draw = random.Random(seed)
    whole = saved.read_bytes()
    altered = 0
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        saved.write_bytes(damaged)
        try:
            found = read_checkpoint(saved)
        except CheckpointError as error:
            altered += "last.ckpt: altered since it was written" in str(error)
            continue
        assert torch.equal(found["state_dict"]["w"], CONTENT["state_dict"]["w"])
        assert {**found, "state_dict": 0} == {**CONTENT, "state_dict": 0}
    assert altered > 50
