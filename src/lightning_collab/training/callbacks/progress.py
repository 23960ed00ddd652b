"""Progress of a training on the terminal, at no cost to the steps."""

import logging
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lightning_collab.training.console import rate_text

log = logging.getLogger(__name__)

REFRESH_SECONDS = 0.1

# Terminal columns of a bar where there is little room, and from where on there is much.
NARROW_BAR, WIDE = 10, 120
# Of all but the numbers: epoch, narrow bar, percentage, two times, and gaps.
BESIDE_NUMBERS = 48

# Of an epoch, those that there are.
SHOWN = ("train/loss", "val/rmse", "val/ndcg@10")


class TrainingProgress(ProgressBar):
    """One bar over all epochs with the latest numbers; plain lines where there is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._enabled = True
        self._due = 0.0
        self._rows = 0
        self._since = 0.0

    def disable(self) -> None:
        """Say nothing; Lightning calls this on ranks other than zero."""
        self._enabled = False

    def enable(self) -> None:
        """Speak again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Show the bar."""
        if not self._enabled:
            return
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=40 if self._console.width >= WIDE else NARROW_BAR),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task(
            "fit",
            total=_steps(trainer, pl_module),
            completed=pl_module.steps_done,
            epoch=trainer.current_epoch + 1,
            epochs=trainer.max_epochs,
            numbers="",
        )
        self._progress.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the numbers of the epoch before, and start counting this epoch's ratings."""
        self._report(trainer, trainer.current_epoch)
        self._rows = 0
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Move the bar a few times a second, not at each step."""
        if self._progress is None:
            return
        # Of users, what they chose.
        self._rows += getattr(batch, "whole_terms", batch.whole_size)
        now = time.monotonic()
        if now >= self._due:
            self._due = now + REFRESH_SECONDS
            self._progress.update(
                self._task,
                completed=pl_module.steps_done,  # type: ignore[arg-type]
                epoch=trainer.current_epoch + 1,
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the last numbers and take the bar away."""
        self._report(trainer, trainer.current_epoch)
        self._close()

    def on_exception(self, *_: Any) -> None:
        """Take the bar away."""
        self._close()

    def _report(self, trainer: pl.Trainer, epoch: int) -> None:
        """The numbers of a finished epoch; its training loss is known only when it has ended."""
        if self._progress is None or not self._rows:
            return
        metrics = trainer.callback_metrics
        shown = [f"{k} {metrics[k]:.4f}" for k in SHOWN if k in metrics]
        speed = self._rows / max(time.monotonic() - self._since, 1e-9)
        table = getattr(getattr(trainer, "datamodule", None), "table", None)
        rate = rate_text(speed, getattr(table, "rows_called", "ratings"))
        numbers = "  ".join([*shown, rate])
        line = f"epoch {epoch}/{trainer.max_epochs}  {numbers}"
        log.debug(line)
        # Beside the bar, as much as fits.
        for fewer in ([*shown[1:], rate], shown[-1:] or [rate]):
            if len(numbers) + BESIDE_NUMBERS > self._console.width:
                numbers = "  ".join(fewer)
        self._progress.update(self._task, numbers=numbers)
        if not self._console.is_terminal:
            self._console.print(line, highlight=False)

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _steps(trainer: pl.Trainer, module: Any) -> int | None:
    """Optimizer steps of the whole run; None where nothing says when it ends."""
    per_epoch = getattr(module, "steps_per_epoch", 1)
    epochs, steps = trainer.max_epochs or -1, trainer.max_steps
    ends = [end for end in (epochs * per_epoch, steps) if end > 0]
    return min(ends) if ends else None
