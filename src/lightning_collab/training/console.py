"""What a run says, to the terminal and to its log file."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

# Lightning's advice that does not hold for batches that are already on the device.
NOISE = (
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*is smaller than the logging interval.*",
    ".*Trying to infer the `batch_size`.*",
    ".*treespec, LeafSpec.*",
    ".*have no `val_dataloader`. Skipping val loop.*",
    ".*Total length of `list` across ranks is zero.*",
    # Our metrics are reduced over the ranks before they are logged.
    ".*It is recommended to use `self.log.*sync_dist=True.*",
)


class RunLogFile(logging.FileHandler):
    """A log file that never fails a run: on a full disk its lines are on the terminal alone."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave out what cannot be written; any other fault is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close, though the last lines may find no room."""
        with suppress(OSError):
            super().close()


@contextmanager
def run_log(log_file: Path | None, *, quiet: bool = False, silent: bool = False) -> Iterator[None]:
    """Send log records to the terminal and to a file while a job runs.

    Args:
        log_file: of the run; None (another rank's run): no file.
        quiet: only warnings on the terminal.
        silent: nothing on the terminal, as in one of many trials.
    """
    root = logging.getLogger()
    before = root.level
    terminal = RichHandler(
        console=Console(stderr=True), show_path=False, show_time=False, markup=False
    )
    terminal.setLevel(logging.WARNING if quiet else logging.INFO)
    # With no handler at all, logging would print warnings by itself.
    handlers: list[logging.Handler] = [logging.NullHandler() if silent else terminal]
    if log_file is not None:
        file = RunLogFile(log_file)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(file)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    root.setLevel(logging.WARNING)  # of the libraries
    logging.getLogger("lightning_collab").setLevel(logging.DEBUG)  # epoch by epoch, to the file
    for handler in handlers:
        root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            for message in NOISE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        root.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
