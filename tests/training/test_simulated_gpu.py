"""Whole runs on a simulated GPU: no mixed devices, no step that waits, the numbers of the CPU."""

import pytest
import torch
from simulated_gpu import simulated_gpu
from support import composed

from lightning_collab.config import validated
from lightning_collab.data.batches import EpochBatches
from lightning_collab.losses import SquaredError
from lightning_collab.models.embedding_net import BatchDropout
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.modules.objective import RowDecay
from lightning_collab.training.run import train

SMALL = (
    "data=synthetic",
    "data.ratings=3000",
    "data.timestamps=true",
    "data.batch_size=512",
    "model.factors=8",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "training.engine=eager",
    "optimizer.lr=0.02",
    "callbacks.report=null",
    "callbacks.projector=null",
    "callbacks.progress_bar=false",
    "logger=none",
)
NET = ("model=embedding_net",)
# Each kind of device draws masks of its own; those of the simulated one are the CPU's.
SGD = ("optimizer=sgd", "optimizer.lr=1")
USERS = ("loss=softmax", "data.batch_size=64", "loss.positives=4", "optimizer.lr=0.01")
NO_HISTORY = ("~features.time", "~features.users.history", "~features.items.history")
CASES = {
    "dot_bias": (),
    "net": NET,
    "matrix_product": ("model=matrix_product",),
    "dot_bias_history": ("features=history",),
    "dot_bias_features": ("features=everything",),
    "net_features": (*NET, "features=everything"),
    "clipping": (*SGD, "trainer.gradient_clip_val=0.02"),
    "ema": ("averaging=ema", "averaging.decay=0.9"),
    "swa": ("averaging=swa",),
    "swa_of_cycles": ("averaging=swa", "averaging.every=cycle"),
    "momentum": (*SGD, "optimizer.decay=decoupled"),
    "sparse": (*SGD, "optimizer.sparse=true", "optimizer.momentum=0", "optimizer.decay=per_row"),
    "frequency_power": ("optimizer.decay=per_row", "optimizer.frequency_power=0.5"),
    "one_cycle": ("scheduler=one_cycle",),
    "full_batch": ("data.batch_size=full",),
    "range_test": ("find_lr=true", "lr_range_test.steps=12", "lr_range_test.end_lr=1"),
    "softmax": USERS,
    "softmax_of_drawn_items": (*USERS, "loss.catalogue_limit=0", "loss.samples=64"),
    "softmax_features": (*USERS, "features=everything", *NO_HISTORY),
    "bce": ("loss=bce", "loss.positives=4", "loss.dislikes=negative"),
    "bpr": ("loss=bpr",),
    "bpr_by_user": ("loss=bpr", "data.order=by_user"),
    "net_bce": ("loss=bce", *NET, "optimizer.lr=0.002"),
}


def fitted(folder, *overrides, resume=False):
    """Metrics of the validation of a run."""
    config = validated(composed(*SMALL, *overrides))
    found = train(config, RunDirectory(folder), resume=resume, test=False)
    return {key: value for key, value in found.items() if key.startswith("val/")}


@pytest.mark.parametrize("case", CASES)
def test_a_fit_there_mixes_nothing_and_gives_the_numbers_of_the_cpu(tmp_path, case):
    with simulated_gpu() as gpu:
        there = fitted(tmp_path / "gpu", *CASES[case])
    assert gpu.steps
    assert gpu.mixed == []
    assert gpu.read_in_steps == []
    assert there == pytest.approx(fitted(tmp_path / "cpu", *CASES[case]), abs=2e-5)


@pytest.mark.parametrize(
    ("case", "most"), [("dot_bias", 45), ("net", 70), ("dot_bias_history", 100)]
)
def test_a_step_launches_few_operations(tmp_path, case, most):
    with simulated_gpu() as gpu:
        fitted(tmp_path, *CASES[case], "trainer.max_epochs=1")
    first, *later = [sum(each.values()) for each in gpu.steps]
    assert set(later) == {min(later)}
    assert min(later) <= most
    assert first > min(later)  # that of Adam's state, which is made once


def test_a_resumed_fit_there_ends_like_a_whole_one(tmp_path):
    constant = ("scheduler=constant", "averaging=ema")
    with simulated_gpu() as gpu:
        whole = fitted(tmp_path / "whole", *constant, "trainer.max_epochs=3")
        fitted(tmp_path / "cut", *constant)
        assert fitted(tmp_path / "cut", *constant, "trainer.max_epochs=3", resume=True) == whole
    assert gpu.mixed == []


def unmoved_touches(monkeypatch):
    """A penalty's constants stay on the CPU."""
    monkeypatch.setattr(RowDecay, "_of", lambda self, tables, side, ids: tables[side])


def unmoved_order(monkeypatch):
    """The order of an epoch stays on the CPU."""
    drawn = EpochBatches.order

    def order(self):
        found = drawn(self)
        return None if found is None else found.cpu()

    monkeypatch.setattr(EpochBatches, "order", order)


def unmoved_mask(monkeypatch):
    """A dropout mask is made on the CPU."""

    def forward(self, x, batch):
        return x * torch.ones(x.shape) if self.training else x

    monkeypatch.setattr(BatchDropout, "forward", forward)


def read_loss(monkeypatch):
    """A step looks at its loss."""
    called = SquaredError.__call__

    def looked_at(self, predicted, target):
        loss = called(self, predicted, target)
        assert float(loss.detach()) >= 0
        return loss

    monkeypatch.setattr(SquaredError, "__call__", looked_at)


@pytest.mark.parametrize(
    ("fault", "case"),
    [
        (unmoved_touches, "frequency_power"),
        (unmoved_order, "dot_bias"),
        (unmoved_mask, "net"),
        (read_loss, "dot_bias"),
    ],
)
def test_a_fault_is_seen(tmp_path, monkeypatch, fault, case):
    fault(monkeypatch)
    with simulated_gpu() as gpu:
        fitted(tmp_path, *CASES[case], "trainer.max_epochs=1")
    assert bool(gpu.read_in_steps) == (fault is read_loss)
    assert bool(gpu.mixed) == (fault is not read_loss)
