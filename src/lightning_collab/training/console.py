"""What a run says: to the terminal, to its log file, and at its end."""

import logging
import os
import shlex
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.invocation import tensorboard_line
from lightning_collab.runs.text import stdout_console
from lightning_collab.training.process import SharedContext
from lightning_collab.training.result_tables import (
    below_biases,
    below_most_popular,
    cold_table,
    further_table,
    metrics_table,
    ranking_table,
)

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


class HeldLog(MemoryHandler):
    """Keeps what is said until a run has begun: one that is refused changes no file."""

    def __init__(self, file: logging.Handler) -> None:
        super().__init__(capacity=1 << 20, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
        self.setTarget(file)

    def begin(self) -> None:
        """Write what was kept, and from now on each line at once."""
        self.flush()
        self.capacity = 1

    def close(self) -> None:
        """Close the file too."""
        file = self.target
        super().close()
        if file is not None:
            file.close()


def begin_log() -> None:
    """Let the logs of this thread's runs be written that were held back."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, HeldLog):
            handler.begin()


@contextmanager
def run_log(
    log_file: Path | None, *, quiet: bool = False, silent: bool = False, held: bool = False
) -> Iterator[None]:
    """Send log records to the terminal and to a file while a job runs.

    Jobs of several threads at once have each its own records. What a thread without a job says
    goes to all of them.

    Args:
        log_file: of the run; None (another rank's run): no file.
        quiet: only warnings on the terminal.
        silent: nothing on the terminal, as in one of many trials.
        held: the file stays as it is until `begin_log`.
    """
    root = logging.getLogger()
    terminal = RichHandler(
        console=Console(stderr=True), show_path=False, show_time=False, markup=False
    )
    terminal.setLevel(logging.WARNING if quiet else logging.INFO)
    # With no handler at all, logging would print warnings by itself.
    handlers: list[logging.Handler] = [logging.NullHandler() if silent else terminal]
    if log_file is not None:
        file = RunLogFile(log_file, delay=held)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(HeldLog(file) if held else file)
    thread = threading.get_ident()
    for handler in handlers:
        handler.addFilter(lambda record: record.thread == thread or not _JOBS[record.thread])
        root.addHandler(handler)
    _JOBS[thread] += 1
    try:
        with _LIBRARIES:
            yield
    finally:
        _JOBS[thread] -= 1
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


# How many jobs each thread has: one inside another, if more than one.
_JOBS: Counter[int | None] = Counter()
# Epoch by epoch, to the file; of the libraries, warnings alone.
_LEVELS = {
    "lightning_collab": logging.DEBUG,
    "pytorch_lightning": logging.WARNING,
    "": logging.WARNING,
}


@contextmanager
def _levels_of_libraries() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in _LEVELS}
    captured = warnings.showwarning.__module__ == logging.__name__
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            for message in NOISE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        if not captured:
            logging.captureWarnings(False)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


_LIBRARIES = SharedContext(_levels_of_libraries)


def say(text: str) -> None:
    """Print a line as it is, however long.

    Args:
        text: names and paths in it may have square brackets.
    """
    stdout_console().print(text, highlight=False, soft_wrap=True, markup=False)


def say_file(label: str, path: Path, more: str = "") -> None:
    """Print where a file is, seen from the working directory.

    Args:
        label: what it is.
        path: of the file.
        more: what else there is to say of it.
    """
    say(f"{label:<8}{os.path.relpath(path)}{more}")


def rate_text(rows_per_second: float, called: str) -> str:
    """A speed as people say it: `1.25 M ratings/s`, `8,400 ratings/s`.

    Args:
        rows_per_second: of the training.
        called: what a row is: ratings or interactions.
    """
    millions = f"{rows_per_second / 1e6:.2f} M"
    return f"{millions if rows_per_second >= 1e5 else f'{rows_per_second:,.0f}'} {called}/s"


def print_summary(
    metrics: Mapping[str, Any],
    model: str,
    run: Path,
    again: str,
    recommend: str | None = None,
    further: Sequence[str] = (),
    ranked_by: str | None = None,
    rows_called: str = "ratings",
) -> None:
    """The numbers beside the baselines, where the run is, and how to look at its curves.

    Args:
        metrics: the content of metrics.json.
        model: its name.
        run: the run directory.
        again: what measures the run again.
        recommend: what recommends to one of the users; None: nothing can.
        further: names of metrics beside RMSE and MAE.
        ranked_by: of a run that ranks, the name of its loss; None: it predicts ratings.
        rows_called: what a row of the data is: ratings or interactions.
    """
    console = stdout_console()
    if ranked_by is None:
        console.print(metrics_table(metrics, model))
        line = below_biases(metrics)
    else:
        console.print(ranking_table(metrics, model))
        line = below_most_popular(metrics, ranked_by)
    if line is not None:
        say(line)
    if further:
        console.print(further_table(metrics, further))
    if (cold := cold_table(metrics)) is not None:
        console.print(cold)
    console.print(
        f"{metrics['epochs']} epoch{'' if metrics['epochs'] == 1 else 's'} in "
        f"{metrics['fit_seconds']:.1f} s "
        f"({rate_text(metrics['train_ratings_per_second'], rows_called)}), "
        f"peak memory {metrics['peak_rss_bytes'] / 2**20:.0f} MiB, seed {metrics['seed']}",
        highlight=False,
    )
    directory = RunDirectory(run)
    report = directory.report_file
    for label, text in (
        ("run", str(run)),
        *(("curves", place) for place in _places_of_curves(directory)),
        *([("try", recommend)] if recommend is not None else []),
        ("again", again),
        *([("report", str(report))] if report.is_file() else []),
    ):
        say(f"{label:<8}{text}")


def _places_of_curves(run: RunDirectory) -> Iterator[str]:
    """What to type or open to see the curves, for each logger that has written here."""
    if run.tensorboard.is_dir():
        yield tensorboard_line(run.path)
    if run.csv.is_dir():
        yield str(run.csv / "metrics.csv")
    for offline in sorted((run.path / "wandb").glob("offline-run-*")):
        yield f"wandb sync {shlex.quote(str(offline))}"
    if run.mlflow.is_file():
        yield f"sqlite:///{run.mlflow}"
