"""One run from a config to a run directory with a trained model and its numbers."""

import logging
import platform
import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from lightning_collab.config import RunConfig
from lightning_collab.config.compose import check_resumed
from lightning_collab.config.data import FrameConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.metadata import metadata_table, write_history
from lightning_collab.data.vocabulary import Side
from lightning_collab.errors import (
    CheckpointError,
    LightningCollabError,
    StorageError,
    TrainingError,
)
from lightning_collab.metrics.baselines import baseline_metrics
from lightning_collab.metrics.ranking_baselines import ranking_baselines
from lightning_collab.models.rating_model import SIDES
from lightning_collab.runs.checkpoints import read_checkpoint, steps_of_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.files import run_held, summed_file
from lightning_collab.runs.invocation import command_line
from lightning_collab.runs.launch import is_first_rank
from lightning_collab.training.build import build_module, load_data, start_from_run
from lightning_collab.training.callbacks.interrupt import RankFailureMonitor, SaveOnInterrupt
from lightning_collab.training.cold_file import write_cold_rows
from lightning_collab.training.cold_rows import met_in_validation
from lightning_collab.training.console import begin_log
from lightning_collab.training.evaluation import check_ratings, evaluate_checkpoint
from lightning_collab.training.loggers import log_config, log_results
from lightning_collab.training.lr_range_test import with_found_rate
from lightning_collab.training.modules.base_module import BaseModule
from lightning_collab.training.parts import check_parts, further_callbacks
from lightning_collab.training.process import signals_put_back
from lightning_collab.training.schedules import build_schedule
from lightning_collab.training.trainer import build_trainer

log = logging.getLogger(__name__)


# What looks at a run when its numbers are there; gives these, perhaps with further ones.
Inspect = Callable[[RunConfig, RunDirectory, RatingDataModule, dict[str, Any]], dict[str, Any]]


class InterruptedRunError(TrainingError):
    """The run was stopped by Ctrl-C."""


def train(
    config: RunConfig,
    run: RunDirectory,
    *,
    resume: bool = False,
    callbacks: Sequence[pl.Callback] = (),
    data: RatingDataModule | None = None,
    test: bool = True,
    loadable: bool = True,
    inspect: Inspect | None = None,
) -> dict[str, Any]:
    """Train, measure and leave a run directory behind.

    Args:
        config: of the run.
        run: where everything goes.
        resume: go on from the directory's last.ckpt.
        callbacks: further ones, from the packages that build on training.
        data: the ratings that the config asks for, where they are loaded already.
        test: False: the test part is not looked at, as is right while tuning.
        loadable: whether users, items and history are kept, which `lightning_collab.load` needs.
        inspect: called on rank zero when metrics.json is written.

    Returns:
        The content of metrics.json.

    Raises:
        LightningCollabError: what the user can put right; each message says how.
        InterruptedRunError: Ctrl-C; last.ckpt then holds the step reached.
    """
    with run_held(run.path) if is_first_rank() else nullcontext(), signals_put_back():
        try:
            metrics, data = _train(
                config, run, callbacks, data, resume=resume, test=test, loadable=loadable
            )
            kept = not config.trainer.keeps_nothing
            if inspect is not None and kept and is_first_rank():
                metrics = inspect(config, run, data, metrics)
            return metrics
        except LightningCollabError:
            raise
        except SystemExit:
            # Lightning has turned Ctrl-C into this, beside the fit: while measuring, say.
            if not is_first_rank():
                raise
            raise InterruptedRunError(f"stopped\nTo continue: {way_on(run, config)}") from None
        except Exception as error:
            # Of TensorBoard, polars or torch.
            full = StorageError.behind(error)
            if full is None:
                raise
            raise StorageError(f"{full}{_last_good(run)}") from error


def _train(
    config: RunConfig,
    run: RunDirectory,
    callbacks: Sequence[pl.Callback],
    data: RatingDataModule | None,
    *,
    resume: bool,
    test: bool,
    loadable: bool,
) -> tuple[dict[str, Any], RatingDataModule]:
    check_parts(config)
    callbacks = [*callbacks, *further_callbacks(config.callbacks)]
    _say_what_is_not_kept(config)
    config = config.as_kept()
    checkpoint = None
    if resume:
        if run.config_file.is_file():
            check_resumed(run.read_plain_config(), config)
        checkpoint = _checkpoint_to_go_on_from(config, run)
    data = data or load_data(config)
    if config.find_lr and checkpoint is None:
        config = with_found_rate(config, data, run)
    module = build_module(config, data, to_shard=config.model.sharded)
    if checkpoint is not None:
        _check_goes_on(config, module, data, checkpoint)
    begin_log()
    trainer = build_trainer(config, run, callbacks)
    log.info(introduction(config, data, module))
    if config.init_from is not None and checkpoint is None:
        start_from_run(config, module)
    if config.trainer.keeps_nothing:
        return _tried(trainer, module, data), data
    if trainer.is_global_zero:
        run.write_config(config)
        if loadable:
            _write_metadata(run, data)
        log_config(trainer.loggers, config)
    started = time.perf_counter()
    first_epoch = _fit(trainer, module, data, run, config, checkpoint)
    here = time.perf_counter() - started
    # A limit on steps may end a run before its first validation.
    validated = config.monitor is not None and run.best_checkpoint.is_file()
    measured_on = run.best_checkpoint if validated else run.last_checkpoint
    # Rows that nobody asks for later are made only where they are measured.
    sides = SIDES if test or loadable else met_in_validation(data)
    measured = evaluate_checkpoint(trainer, module, data, measured_on, test=test, sides=sides)
    epochs = trainer.current_epoch
    metrics = metrics_of_run(
        config,
        data,
        module,
        {**measured, **baselines_of_run(config, data, test=test)},
        epochs=epochs,
        here=(epochs - first_epoch, here),
        device=str(trainer.strategy.root_device),
        ranks=trainer.world_size,
    )
    if trainer.is_global_zero:
        if loadable:
            _keep_cold_rows(run, module, measured_on)
        log_results(trainer.loggers, config, metrics, module.steps_done)
        run.write_metrics(metrics)
    return metrics, data


def metrics_of_run(
    config: RunConfig,
    data: RatingDataModule,
    module: BaseModule,
    measured: Mapping[str, float],
    *,
    epochs: int,
    here: tuple[int, float],
    device: str = "cpu",
    ranks: int = 1,
) -> dict[str, Any]:
    """The content of metrics.json.

    Args:
        config: of the run.
        data: its ratings.
        module: trained.
        measured: metrics of the model and of what it must beat.
        epochs: of the whole training.
        here: those that this process has trained, and the seconds they took.
        device: that trained.
        ranks: how many.
    """
    trained, seconds = here
    return {
        **measured,
        "epochs": epochs,
        # Of the whole training, over all processes that it took.
        "fit_seconds": round(module.seconds_before + seconds, 3),
        "train_ratings_per_second": round(trained * len(data.rows.train) / seconds),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "parameters": sum(p.numel() for p in module.model.parameters()),
        "train_ratings": len(data.rows.train),
        "val_ratings": len(data.rows.val),
        "test_ratings": len(data.rows.test),
        **_unknown_counts(data),
        "seed": config.seed,
        "git_commit": _git_commit(),
        "device": device,
        "ranks": ranks,
        "machine": platform.platform(),
        "torch": torch.__version__,
    }


def baselines_of_run(config: RunConfig, data: RatingDataModule, *, test: bool) -> dict[str, float]:
    """What the run must beat, on test, else on val."""
    if config.positives is None:
        return baseline_metrics(data, test=test)
    part = "test" if test and len(data.rows.test) else "val"
    if not is_first_rank() or not len(getattr(data.rows, part)):
        return {}
    return ranking_baselines(
        data,
        positives=config.positives,
        liked=config.liked,
        top_k=config.metrics.top_k,
        part=part,
        seed=config.seed,
    )


def _keep_cold_rows(run: RunDirectory, module: BaseModule, checkpoint: Path) -> None:
    """Keep what is made of ids without training ratings, for the checkpoint that is used."""
    if any(each.described_by for each in module.cold.values()):
        steps = steps_of_checkpoint(read_checkpoint(checkpoint, mapped=True))
        write_cold_rows(run, module.cold, steps)
    else:
        run.cold_file.unlink(missing_ok=True)


def _check_goes_on(
    config: RunConfig, module: BaseModule, data: RatingDataModule, checkpoint: Path
) -> None:
    """Refuse to continue with another model or other ratings, before anything of the run changes.

    Raises:
        CheckpointError: the message names what differs.
    """
    saved = read_checkpoint(checkpoint, mapped=True)
    try:
        module.check_vocabularies(saved)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from error
    check_ratings(saved, data, checkpoint)
    _say_where_the_schedule_goes_on(config, saved)
    if config.model.sharded:
        return
    there, here = (
        {name: list(value.shape) for name, value in state.items()}
        for state in (saved["state_dict"], module.state_dict())
    )
    for name in (*there, *here):
        if there.get(name) != here.get(name):
            raise CheckpointError(
                f"{checkpoint}: it belongs to another model: {name} is "
                f"{there.get(name, 'not there')}, and here it is {here.get(name, 'not there')}; "
                "keep the model and its features as the run has them"
            )


def _say_where_the_schedule_goes_on(config: RunConfig, saved: Mapping[str, Any]) -> None:
    """A word where the run is longer now, and a schedule that is spread over it goes back up."""
    before = saved["config"]
    epochs = (before.get("trainer") or {}).get("max_epochs")
    done, steps = _epochs_done(saved), steps_of_checkpoint(saved)
    scheduler = config.scheduler
    if not config.model.by_gradient or not epochs or not done or not steps:
        return
    if before.get("scheduler") != scheduler.model_dump(mode="json"):
        return  # another one was typed
    a_epoch = max(1, round(steps / done))
    then, now = (
        build_schedule(
            scheduler, lr=config.optimizer.lr, steps_per_epoch=a_epoch, total_steps=a_epoch * total
        )(min(steps, a_epoch * total) - 1)
        for total in (epochs, config.trainer.max_epochs)
    )
    if abs(now - then) > 0.01 * max(now, then):
        log.warning(
            "scheduler=%s is spread over trainer.max_epochs: over %d epochs in place of %d it "
            "continues at %.3g of optimizer.lr, after %.3g, as if the run had been meant to last "
            "so long; with scheduler=constant and a low optimizer.lr it would not go back up",
            *(scheduler.name, config.trainer.max_epochs, epochs, now, then),
        )


def _tried(trainer: pl.Trainer, module: BaseModule, data: RatingDataModule) -> dict[str, Any]:
    """A run that only shows that it works: `trainer.fast_dev_run` and `trainer.barebones`.

    Returns:
        `epochs`, `steps` and `fit_seconds`; no metrics, which would be of a few batches.
    """
    started = time.perf_counter()
    trainer.fit(module, datamodule=data)
    seconds = time.perf_counter() - started
    if len(data.rows.test) and not trainer.barebones:
        trainer.test(module, datamodule=data, verbose=False)
    return {
        "epochs": trainer.current_epoch,
        "steps": module.steps_done,
        "fit_seconds": round(seconds, 3),
    }


def _say_what_is_not_kept(config: RunConfig) -> None:
    """For a resumed run: which further callbacks it had, since they are not made from it."""
    typed = [target["_target_"] for target in config.callbacks.targets.values()]
    gone = [name for name in config.callbacks.further_classes if name not in typed]
    if gone:
        log.warning(
            "the run had further callbacks (%s), which are not saved with it; to use them again, "
            "add callbacks.further=[{_target_: %s, ...}]",
            ", ".join(gone),
            gone[0],
        )


def _write_metadata(run: RunDirectory, data: RatingDataModule) -> None:
    """Keep what is known of users and items, and who rated what, each file whole or not at all."""
    sides: tuple[tuple[Side, Path], ...] = (("users", run.users_file), ("items", run.items_file))
    for side, path in sides:
        with summed_file(path) as file:
            metadata_table(data, side).write_parquet(file)
    with summed_file(run.history_file) as file:
        write_history(data, file)


def introduction(config: RunConfig, data: RatingDataModule, module: BaseModule) -> str:
    """What is trained on what, in a line."""
    rows = data.rows
    unknown = "".join(
        f"; {count:,} {name.replace('_', ' ').replace('unknown ', '')} without training ones"
        for name, count in _unknown_counts(data).items()
        if count
    )
    return (
        f"{config.model.name} on {data.table.name}: "
        f"{len(rows.train):,} / {len(rows.val):,} / {len(rows.test):,} {data.table.rows_called} to "
        f"train / validate / test, {len(data.user_vocabulary) - 1:,} users, "
        f"{len(data.item_vocabulary) - 1:,} items, "
        f"{sum(p.numel() for p in module.model.parameters()):,} parameters{unknown}"
    )


def _unknown_counts(data: RatingDataModule) -> dict[str, int]:
    """How many rows of each part are of a user or an item without training ratings."""
    counts = {}
    for part in ("val", "test"):
        rows = getattr(data.rows, part)
        if len(rows):
            users, items = data.unknown_counts(rows)
            counts[f"{part}_ratings_of_unknown_users"] = users
            counts[f"{part}_ratings_of_unknown_items"] = items
    return counts


def _fit(
    trainer: pl.Trainer,
    module: BaseModule,
    data: RatingDataModule,
    run: RunDirectory,
    config: RunConfig,
    checkpoint: Path | None,
) -> int:
    """Train to the end, and return the epoch that it began with."""
    first_epoch = 0
    if checkpoint is not None:
        first_epoch = _epochs_done(read_checkpoint(checkpoint, mapped=True))
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    monitor = next((c for c in callbacks if isinstance(c, RankFailureMonitor)), None)
    if monitor is not None:
        monitor.advice = lambda: _last_good(run)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    except SystemExit:
        # Lightning has turned Ctrl-C into this.
        if not trainer.is_global_zero:
            raise
        saved = any(isinstance(c, SaveOnInterrupt) and c.saved for c in trainer.callbacks)  # type: ignore[attr-defined]
        what = "saved" if saved else "not saved; its last checkpoint is of an earlier epoch"
        raise InterruptedRunError(
            f"stopped at step {module.steps_done} of epoch {trainer.current_epoch + 1} ({what})\n"
            f"To continue: {way_on(run, config)}"
        ) from None
    except (TrainingError, StorageError) as error:
        raise type(error)(f"{error}{_last_good(run)}") from error
    except Exception as error:
        if monitor is None or monitor.cause is None:
            raise
        raise TrainingError(f"{monitor.cause}{_last_good(run)}") from error
    return first_epoch


def way_on(run: RunDirectory, config: RunConfig) -> str:
    """What a user does to continue a run that was stopped.

    Args:
        run: the run directory.
        config: of the run.
    """
    if not isinstance(config.data, FrameConfig):
        return command_line("train", resume=run.path)
    if not run.last_checkpoint.is_file():
        return "nothing was saved; train again"
    return f"lightning_collab.load({str(run.path)!r}).resume(frame)"


def _last_good(run: RunDirectory) -> str:
    """Where a run that had to stop can be taken up."""
    try:
        epochs = _epochs_done(read_checkpoint(run.last_checkpoint))
    except CheckpointError:
        return ""
    return f"\nThe last good checkpoint, of epoch {epochs}, is {run.last_checkpoint}"


def _epochs_done(checkpoint: Mapping[str, Any]) -> int:
    return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])


def _checkpoint_to_go_on_from(config: RunConfig, run: RunDirectory) -> Path | None:
    """A run's last checkpoint; None where it was stopped before it wrote any.

    Raises:
        CheckpointError: the run has ended as its config says, or the checkpoint cannot be read.
    """
    ended = run.metrics_file.is_file()
    if run.config_file.is_file() and not run.last_checkpoint.is_file() and not ended:
        log.warning("%s was stopped before its first epoch ended; it starts over", run.path)
        return None
    done = _epochs_done(read_checkpoint(run.last_checkpoint))
    if done >= config.trainer.max_epochs:
        if ended and run.read_metrics().get("epochs") == done:
            raise CheckpointError(
                f"{run.path} has been trained for {done} epochs already; to continue, set "
                f"trainer.max_epochs=<more than {done}> (a total)"
            )
        log.warning("%s was stopped after its last epoch; it is evaluated now", run.path)
    return run.last_checkpoint


def _git_commit() -> str | None:
    """The commit of the source that is running; None where no checkout has this file in it.

    An installed package may well lie in somebody's checkout, whose commit says nothing of it.
    """
    source = Path(__file__)
    tracked = _git(source.parent, "ls-files", "--error-unmatch", source.name)
    return None if tracked is None else _git(source.parent, "rev-parse", "HEAD")


def _git(folder: Path, *words: str) -> str | None:
    """What git says in a folder; None where it fails or is not there."""
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
