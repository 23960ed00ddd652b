"""The commands predict, for a file of pairs, and recommend: the best items for anybody."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_collab.api.trained_run import TrainedRun, load
from lightning_collab.config.columns import AUTO
from lightning_collab.config.commands import PredictConfig, RecommendConfig
from lightning_collab.config.section import job_config
from lightning_collab.inference import prediction, recommendation
from lightning_collab.inference.fold_in import read_own_ratings
from lightning_collab.inference.prediction import Predicted
from lightning_collab.inference.stock import offered
from lightning_collab.inference.table_stream import PairsFile, check_output, write_stream
from lightning_collab.runs.text import Column, item_table, printable, stdout_console
from lightning_collab.training.console import run_log, say


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


def recommend_command(config: DictConfig) -> pl.DataFrame | None:
    """Recommend as the config asks, and print or write it.

    Args:
        config: of conf/recommend.yaml.

    Returns:
        The recommendations of one user or of those named; None where they are of all users.

    Raises:
        ConfigError: not one of user, ratings and items is given, `top_k` or a rating is out of
            range, or the output already exists or is not of a known format.
        NotFoundError: the run does not know the user or a rated item.
        CheckpointError: the run does not know what its users have rated.
    """
    asked = job_config(RecommendConfig, config)
    output = None if asked.output is None else Path(asked.output)
    if output is not None:
        check_output(output, overwrite=asked.overwrite)
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    run = load(asked.run, asked.checkpoint)
    if asked.user == "all" and output is not None:
        _write_all(run, asked, output)
        return None
    with run_log(None, quiet=True):
        found, name = _of_one(run, asked)
    if output is None:
        console = stdout_console()
        several = "user" in found.columns
        for part in found.partition_by("user", maintain_order=True) if several else [found]:
            said = f"user {part['user'][0]}" if several else name
            say(f"for {printable(said)}")
            console.print(item_table(_columns(part, run.rows_called), console.width))
    else:
        name_of = pl.element().struct.field("title" if "title" in found.columns else "item")
        flat = found.with_columns(pl.col("because_of").list.eval(name_of.cast(pl.String)))
        write_stream(output, iter([flat]), flat.schema)
        say(f"{len(found)} recommendations for {name}: {os.path.relpath(output)}")
    return found


def _of_one(run: TrainedRun, asked: RecommendConfig) -> tuple[pl.DataFrame, str]:
    stock: dict[str, Any] = {
        "only": asked.only,
        "exclude": asked.exclude,
        "min_ratings": asked.min_ratings,
        "new_items": asked.new_items,
    }
    if asked.user is not None:
        found = run.recommend(user=asked.user, top_k=asked.top_k, seen=asked.seen, **stock)
        if isinstance(asked.user, list):
            return found, f"{found['user'].n_unique()} users"
        return found, f"user {asked.user}"
    if asked.items is not None:
        found = run.recommend(items=asked.items, top_k=asked.top_k, **stock)
        count = len(asked.items)
        return found, f"somebody who chose {count} item{'' if count == 1 else 's'}"
    if isinstance(asked.ratings, str):
        ratings = read_own_ratings(run, Path(asked.ratings))
    else:
        ratings = dict(asked.ratings or {})
    found = run.recommend(ratings=ratings, top_k=asked.top_k, **stock)
    return found, f"somebody with {len(ratings)} ratings"


def _write_all(run: TrainedRun, asked: RecommendConfig, output: Path) -> None:
    with run_log(None, quiet=True):
        offer = offered(
            run,
            asked.top_k,
            only=asked.only,
            exclude=asked.exclude,
            min_ratings=asked.min_ratings,
            new_items=asked.new_items,
        )
    users = len(run.users)
    began = time.perf_counter()
    with row_progress("recommending", users, "users") as progress:

        def blocks() -> Iterator[pl.DataFrame]:
            for block in recommendation.all_recommendations(run, asked.top_k, asked.seen, offer):
                progress(block["user"].n_unique())
                yield block

        write_stream(output, blocks(), recommendation.recommendation_schema(run))
    seconds = time.perf_counter() - began
    say(f"{users:,} users in {seconds:.1f} s: {os.path.relpath(output)}")


def _columns(found: pl.DataFrame, rows_called: str) -> list[Column]:
    score = "score" if "score" in found.columns else "prediction"
    heads = {"score": "score", "prediction": "predicted"}
    reasons = [
        [recommendation.reason(each) for each in because]
        for because in found["because_of"].to_list()
    ]
    columns = [Column("item", [str(each) for each in found["item"]], right=True)]
    if "title" in found.columns:
        columns.append(Column("title", [each or "" for each in found["title"]], "title"))
    columns += [
        Column(heads[score], [f"{each:.2f}" for each in found[score]], right=True),
        Column(
            rows_called, [f"{each:,}" if each else "new" for each in found["ratings"]], right=True
        ),
    ]
    if "genres" in found.columns:
        columns.append(
            Column("genres", [each or [] for each in found["genres"].to_list()], "extra")
        )
    return [*columns, Column("because of", reasons, "extra", joined_by="; ", least=15)]
