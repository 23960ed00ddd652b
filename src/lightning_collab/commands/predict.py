"""`predict`: predictions for a file of pairs."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_collab.api.trained_run import load
from lightning_collab.config.columns import AUTO
from lightning_collab.config.commands import PredictConfig
from lightning_collab.config.section import job_config
from lightning_collab.inference import prediction
from lightning_collab.inference.pairs_file import PairsFile
from lightning_collab.inference.prediction import Predicted
from lightning_collab.inference.table_stream import check_output
from lightning_collab.training.console import say


@contextmanager
def row_progress(what: str, total: int, rows: str) -> Iterator[Callable[[int], None]]:
    """Show how far some work has come; the bar goes when the work is done.

    Args:
        what: is being done.
        total: rows that there are.
        rows: what a row is.

    Yields:
        A function to be told how many further rows are done.
    """
    before = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    columns = *before, TextColumn(rows), TimeRemainingColumn()
    # On the error stream, as all that is said on the way: the output may be piped.
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)


def predict_command(config: DictConfig) -> Predicted:
    """Predict the pairs that the config names, and say what became of them.

    Args:
        config: of conf/predict.yaml.

    Raises:
        ConfigError: a column is not found, or the output exists or is not of a known format.
        DataError: the input is missing, empty or not readable.
        StorageError: the output cannot be written.
    """
    asked = job_config(PredictConfig, config)
    source, output = Path(asked.input), Path(asked.output)
    check_output(output, overwrite=asked.overwrite, inputs=(source,))
    run = load(asked.run, asked.checkpoint)
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    columns: dict[str, str | None] = {"user": asked.columns.user, "item": asked.columns.item}
    if prediction.has_time_effects(run) or asked.columns.timestamp is not None:
        columns["timestamp"] = asked.columns.timestamp
    # What the run's own file calls its columns.
    names = (run.config.get("data") or {}).get("columns") or {}
    own = {ours: name for ours, name in names.items() if isinstance(name, str) and name != AUTO}
    pairs = PairsFile.open(
        source,
        columns,
        delimiter=asked.delimiter,
        as_text=output.suffix.lower() == ".csv",
        further_names=own,
    )
    prediction.predicted_schema(run, pairs)  # what is wrong is said before the bar is there
    began = time.perf_counter()
    with row_progress("predicting", pairs.rows, "pairs") as progress:
        done = prediction.predict_file(run, pairs, output, progress)
    seconds = time.perf_counter() - began
    unknown = [
        f"{count:,} of unknown {side}"
        for side, count in (("users", done.unknown_users), ("items", done.unknown_items))
        if count
    ]
    among = f" ({', '.join(unknown)})" if unknown else ""
    say(f"{done.pairs:,} predictions{among} in {seconds:.1f} s: {os.path.relpath(output)}")
    return done
