"""Fused steps of losses that rank are those of autograd, and go on from each other."""

from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from lightning_collab.errors import ConfigError, TrainingError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.fused import blocks
from lightning_collab.training.run import train

QUIET = (
    "trainer=cpu",
    "trainer.precision=64-true",
    "callbacks.progress_bar=false",
    "callbacks.report=null",
    "callbacks.projector=null",
    "logger=none",
    "trainer.max_epochs=3",
    "model.factors=5",
    "model.init_range=0.3",
    "loss.positives=4",
    "metrics.top_k=[3]",
)
SIDES = "optimizer.groups.embeddings"
PLAIN = ("optimizer=sgd", "optimizer.momentum=0", "optimizer.decay=per_row")
CASES = {
    "softmax as shipped": ("loss=softmax", "data.batch_size=7"),
    "softmax, dense moments": ("loss=softmax", f"{SIDES}.users.lazy=false", "data.batch_size=7"),
    "softmax, disliked items are negatives": ("loss=softmax", "loss.dislikes=negative"),
    "softmax, all is positive": ("loss=softmax", "loss.positives=all", "data.batch_size=4"),
    "softmax, lazy items and own decays": (
        "loss=softmax",
        f"{SIDES}.items.lazy=true",
        f"{SIDES}.items.weight_decay=0.4",
        "optimizer.groups.biases.weight_decay=0.02",
        "optimizer.frequency_power=0.3",
    ),
    "softmax, frozen users": ("loss=softmax", f"{SIDES}.users.lr_scale=0"),
    "softmax without decay": ("loss=softmax", "optimizer.weight_decay=0"),
    "bce as shipped": ("loss=bce", "data.batch_size=13"),
    "bce, one power": ("loss=bce", "optimizer.frequency_power=1.0", "loss.negatives=2"),
    "bce, lazy on both sides": (
        "loss=bce",
        f"{SIDES}.users.lazy=true",
        f"{SIDES}.items.lazy=true",
        "optimizer.groups.biases.items.lazy=true",
        "optimizer.groups.biases.users.lr_scale=3",
        "data.batch_size=13",
    ),
    "bce, all lazy": (
        "loss=bce",
        *(
            f"optimizer.groups.{group}.{side}.lazy=true"
            for group in ("embeddings", "biases")
            for side in ("users", "items")
        ),
        "data.batch_size=5",
    ),
    "bce, plain steps on single pairs": (
        *("loss=bce", *PLAIN, "data.batch_size=1"),
        *("optimizer.lr=0.02", "optimizer.weight_decay=0.05", "optimizer.frequency_power=0.6"),
        *("loss.negatives=3", f"{SIDES}.users.lr_scale=2"),
    ),
    "bpr, plain steps on single pairs": (
        *("loss=bpr", *PLAIN, "data.batch_size=1"),
        *("optimizer.lr=0.05", "optimizer.weight_decay=0.02", "data.order=by_user"),
        f"{SIDES}.items.weight_decay=0.04",
    ),
    "bpr, plain steps, frozen items": (
        *("loss=bpr", *PLAIN, "data.batch_size=1"),
        *("optimizer.lr=0.05", f"{SIDES}.items.lr_scale=0", "loss.negatives=4"),
    ),
    "bpr as shipped": ("loss=bpr", "data.batch_size=13"),
    "bpr by user, by popularity": (
        "loss=bpr",
        "data.order=by_user",
        "loss.popularity_power=0.7",
        "loss.negatives=3",
        "scheduler=constant",
    ),
    "bpr on the whole batch": ("loss=bpr", "data.batch_size=full"),
}


def trained(config, folder, table, **options):
    data = load_data(config, table)
    metrics = train(config, RunDirectory(folder), data=data, **options)
    return metrics, read_checkpoint(RunDirectory(folder).last_checkpoint)


def assert_alike(one, other, **tolerance):
    for name, value in one["state_dict"].items():
        np.testing.assert_allclose(other["state_dict"][name], value, **tolerance, err_msg=name)
    (ours,), (theirs,) = one["optimizer_states"], other["optimizer_states"]
    assert ours["state"].keys() == theirs["state"].keys()
    for number, state in ours["state"].items():
        for name, value in state.items():
            found = theirs["state"][number][name]
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-8, err_msg=name)


@pytest.fixture(scope="module")
def weighted(small_table):
    """The made-up ratings, each with a confidence of its own."""
    weights = np.random.default_rng(3).uniform(0.2, 3, len(small_table)).astype(np.float32)
    return replace(small_table, weights=weights)


@pytest.mark.parametrize("with_weights", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("case", CASES)
def test_steps_are_those_of_autograd(
    case, with_weights, run_config, small_table, weighted, tmp_path
):
    table = weighted if with_weights else small_table
    eager, fused = (
        trained(
            run_config(*QUIET, *CASES[case], f"training.engine={engine}"), tmp_path / engine, table
        )
        for engine in ("eager", "fused")
    )
    assert_alike(eager[1], fused[1], rtol=1e-6, atol=1e-9)
    for name, value in eager[0].items():
        if name.startswith(("val/", "test/")):
            assert fused[0][name] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("case", ["softmax as shipped", "bpr as shipped", "bce, all lazy"])
def test_single_steps_are_those_of_blocks(case, run_config, small_table, tmp_path):
    typed = (*QUIET, *CASES[case], "training.engine=fused", "scheduler=constant")
    _, blocks = trained(run_config(*typed), tmp_path / "blocks", small_table)
    single = run_config(*typed, "trainer.max_steps=100000")
    _, steps = trained(single, tmp_path / "steps", small_table)
    for name, value in blocks["state_dict"].items():
        if case == "bpr as shipped":
            # Rows that missed steps take them together in a block, but one by one here.
            np.testing.assert_allclose(steps["state_dict"][name], value, rtol=1e-9, atol=1e-12)
        else:
            assert torch.equal(value, steps["state_dict"][name]), name


class LossOfEachStep(pl.Callback):
    """What the progress bar and other callbacks get to see."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(float(outputs["loss"]))


@pytest.mark.parametrize("decay", [0.0, 0.02])
@pytest.mark.parametrize("loss", ["softmax", "bce", "bpr"])
def test_the_loss_of_a_step_is_that_of_its_pairs_and_the_decay(
    loss, decay, run_config, small_table, tmp_path
):
    typed = (*QUIET, f"loss={loss}", "data.batch_size=7", f"optimizer.weight_decay={decay}")
    seen = []
    for engine in ("eager", "fused"):
        of_each = LossOfEachStep()
        config = run_config(*typed, f"training.engine={engine}")
        trained(config, tmp_path / engine, small_table, callbacks=[of_each])
        seen.append(of_each.seen)
    assert seen[1] == pytest.approx(seen[0], rel=1e-6)


def test_a_block_counts_the_pairs_of_each_step(run_config, small_table, tmp_path):
    counted, blocks = [], []

    class Count(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            counted.append(len(batch.users))

    class CountInBlocks(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            losses = trainer.optimizers[0].losses
            assert losses.taken == len(losses.terms)
            blocks.extend(losses.terms.tolist())

    for engine, callback in (("eager", Count()), ("fused", CountInBlocks())):
        config = run_config(*QUIET, *CASES["bpr as shipped"], f"training.engine={engine}")
        trained(config, tmp_path / engine, small_table, callbacks=[callback])
    assert blocks == counted
    assert min(blocks) < 13, "the last batch of an epoch is smaller"


@pytest.mark.parametrize("case", ["softmax as shipped", "bce, lazy on both sides"])
@pytest.mark.parametrize("engines", [("eager", "fused"), ("fused", "eager")])
def test_a_checkpoint_is_gone_on_with_by_the_other_engine(
    case, engines, run_config, small_table, tmp_path
):
    typed = (*QUIET, *CASES[case], "scheduler=constant")

    def config(engine, epochs):
        return run_config(*typed, f"training.engine={engine}", f"trainer.max_epochs={epochs}")

    _, whole = trained(config(engines[0], 4), tmp_path / "whole", small_table)
    trained(config(engines[0], 2), tmp_path / "both", small_table)
    _, both = trained(config(engines[1], 4), tmp_path / "both", small_table, resume=True)
    assert_alike(whole, both, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", ["softmax as shipped", "bpr by user, by popularity"])
def test_a_run_that_was_killed_in_mid_epoch_goes_on_to_the_bit(
    case, run_config, small_table, tmp_path, monkeypatch
):
    # Blocks of few steps, so that an epoch has several.
    monkeypatch.setattr(blocks, "BLOCK_RATINGS", 64)
    typed = (*QUIET, *CASES[case], "training.engine=fused", "data.batch_size=7")
    config = run_config(*typed)
    saved = tmp_path / "middle.ckpt"

    class KilledError(Exception):
        pass

    class Kill(pl.Callback):
        takes_blocks = True

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if (trainer.current_epoch, batch_idx) == (1, 1):
                assert len(batch.users) < module.data.rows_per_epoch
                trainer.save_checkpoint(saved)
                raise KilledError

    # Lightning takes back weights before it makes them double, so that single precision it is.
    def trainer(*callbacks):
        return pl.Trainer(
            max_epochs=3, precision="32-true", accelerator="cpu", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=list(callbacks),
        )  # fmt: skip

    def fit(*callbacks, **options):
        data = load_data(config, small_table)
        pl.seed_everything(5)
        module = build_module(config, data)
        trainer(*callbacks).fit(module, datamodule=data, **options)
        return module.state_dict()

    whole = fit()
    with pytest.raises(KilledError):
        fit(Kill())
    for name, value in fit(ckpt_path=saved).items():
        assert torch.equal(value, whole[name]), name


def test_plain_sgd_on_larger_batches_goes_to_autograd(run_config, small_table, tmp_path):
    typed = (*QUIET, "loss=bpr", *PLAIN, "data.batch_size=7")
    config = run_config(*typed, "training.engine=fused")
    with pytest.raises(ConfigError, match=r"data\.batch_size=1, and here it is 7"):
        trained(config, tmp_path, small_table)


REFUSED = {
    "optimizer=sgd with loss=bpr": ("loss=bpr", "optimizer=sgd"),
    "optimizer=adamw with loss=softmax": ("loss=softmax", "optimizer=adamw"),
    "model=embedding_net": ("loss=bpr", "model=embedding_net"),
    "model=matrix_product with loss=bpr": ("loss=bpr", "model=matrix_product"),
    r"optimizer\.decay=gradient with loss=bce": (
        *("loss=bce", "optimizer.decay=gradient", "optimizer.frequency_power=1"),
    ),
    r"trainer\.gradient_clip_val": ("loss=softmax", "trainer.gradient_clip_val=1"),
    r"optimizer\.groups\.embeddings\.users with loss=squared_error": (f"{SIDES}.users.lr_scale=2",),
    r"optimizer\.frequency_power=0\.5 with loss=squared_error": ("optimizer.frequency_power=0.5",),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_has_no_kernels_is_refused_by_name_and_goes_to_autograd(reason, run_config):
    with pytest.raises(ConfigError, match=f"training.engine=fused: .*{reason}.*set training.engi"):
        run_config(*REFUSED[reason], "training.engine=fused")
    assert run_config(*REFUSED[reason]).training.engine == "auto"


def test_a_catalogue_above_the_limit_goes_to_autograd(run_config, small_table, tmp_path, caplog):
    typed = (*QUIET, "loss=softmax", "loss.catalogue_limit=0", "loss.samples=9")
    with caplog.at_level("INFO"):
        trained(run_config(*typed), tmp_path / "auto", small_table)
    assert "engine: eager (items are drawn for the catalog" in caplog.text
    config = run_config(*typed, "training.engine=fused")
    with pytest.raises(ConfigError, match=r"above loss\.catalogue_limit"):
        trained(config, tmp_path / "fused", small_table)


def test_a_loss_that_is_no_number_stops_the_run(run_config, small_table, tmp_path):
    config = run_config(*QUIET, "loss=softmax", "optimizer.lr=1e200", "scheduler=constant")
    with pytest.raises(TrainingError, match="no longer"):
        trained(config, tmp_path, small_table)


def test_auto_takes_the_kernels(run_config, small_table):
    config = run_config(*QUIET, "loss=bce")
    data = load_data(config, small_table)
    module = build_module(config, data)
    pl.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        accelerator="cpu", enable_model_summary=False,
    ).fit(module, datamodule=data)  # fmt: skip
    assert module.choice.engine == "fused"
    assert module.choice.blocks
