"""Callbacks that a test names by `_target_`."""

import pytorch_lightning as pl

SEEN: list[tuple[int, int]] = []


class EveryEpochs(pl.Callback):
    """Notes the epochs that end."""

    def __init__(self, every: int = 1, inner: object = None) -> None:
        if every < 1:
            raise ValueError("every: at least 1")
        self.every = every
        self.inner = inner

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every == 0:
            SEEN.append((self.every, trainer.current_epoch + 1))


class NoCallback:
    """Is none."""
