"""Lightning's counts of batches and optimizer steps, where one Lightning step takes many."""

from typing import Any

import pytorch_lightning as pl

from lightning_collab.compat import count_further_batches


def count_further_steps(trainer: pl.Trainer, further: int) -> None:
    """Count more batches and optimizer steps, as if Lightning had taken them one by one.

    So everything that goes by these counts (the end of an epoch, logging, checkpoints, progress,
    resume) is the same for every engine. To be called in `training_step`, after the optimizer.

    Args:
        trainer: in the middle of a training step.
        further: batches beyond the one that Lightning knows of.
    """
    loop = trainer.fit_loop.epoch_loop
    for progress in (loop.batch_progress.total, loop.batch_progress.current):
        for name in ("ready", "started", "processed", "completed"):
            setattr(progress, name, getattr(progress, name) + further)
    steps = loop.manual_optimization.optim_step_progress
    for counted in (steps.total, steps.current):
        counted.ready += further
        counted.completed += further
    count_further_batches(trainer, further)


def carry_over_steps(checkpoint: dict[str, Any]) -> None:
    """Make the count of optimizer steps in a checkpoint known to every engine.

    Lightning counts them in one place under automatic and in another under manual optimization.

    Args:
        checkpoint: of any engine, changed in place.
    """
    loops = checkpoint["loops"]["fit_loop"]
    done = {"ready": checkpoint["global_step"], "completed": checkpoint["global_step"]}
    automatic = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
    automatic["total"] = dict(done)
    manual = loops["epoch_loop.manual_optimization.optim_step_progress"]
    manual["total"] = dict(done)
