"""Training from Python: on a frame, a file, or a data module that is there already."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback

from lightning_collab.api.again import first_data
from lightning_collab.api.trained_run import TrainedRun
from lightning_collab.api.training import train_run
from lightning_collab.config import RunConfig, validated
from lightning_collab.config.columns import AUTO
from lightning_collab.config.data import (
    CustomFileConfig,
    DataConfig,
    Duplicates,
    FrameConfig,
    plain_paths,
)
from lightning_collab.config.model import LossConfig, ModelConfig
from lightning_collab.config.overrides import composed_in_python
from lightning_collab.config.registry import LOSSES, MODELS, Registry
from lightning_collab.config.section import Section
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.errors import ConfigError, StorageError
from lightning_collab.losses import Loss
from lightning_collab.models import RatingModel
from lightning_collab.runs.directory import RunDirectory, run_suffix
from lightning_collab.runs.invocation import conf_folder
from lightning_collab.runs.launch import launched, run_directory_of_all, with_launched_ranks
from lightning_collab.training.process import random_numbers_put_back, torch_threads_put_back

MODEL = "embedding_dot_bias"
LOSS = "squared_error"
# Where runs go that are given no directory, as those of the command do.
RUNS = Path("outputs/train")
# What train() is given in arguments of its own.
ARGUMENTS = ("data", "model", "loss")
# What a data module has decided already.
OF_THE_MODULE = ("data", "split", "features", "seed")
MADE_BY = "RatingDataModule.from_frame or from_file"


def train(
    data: Any,
    *,
    model: str | type[RatingModel] | ModelConfig | type[ModelConfig] = MODEL,
    loss: str | Loss | type[Loss] | LossConfig | type[LossConfig] = LOSS,
    user: str = AUTO,
    item: str = AUTO,
    rating: str | None = AUTO,
    timestamp: str | None = AUTO,
    part: str | None = AUTO,
    weight: str | None = AUTO,
    rating_range: tuple[float, float] | None = None,
    missing: Sequence[float] | None = None,
    duplicates: Duplicates | None = None,
    users: Any = None,
    items: Any = None,
    run_dir: str | PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    **model_settings: Any,
) -> TrainedRun:
    """Train a model on your ratings, and leave a run directory behind as the command train does.

    What a run is made of is what the command's is: config.yaml, metrics.json, checkpoints, curves
    and a report; `lightning_collab.load` and the commands take it as any other. Hydra's global
    state is left alone, so that this may be called anywhere: in a notebook, in a program of Hydra's
    own, and in several threads at once.

    Example:
        >>> run = lightning_collab.train(
        ...     frame,
        ...     factors=8,
        ...     overrides={"optimizer": "sgd", "optimizer.lr": 0.05, "trainer.max_epochs": 2},
        ... )
        >>> sorted(path.name for path in run.path.iterdir() if path.suffix == ".parquet")
        ['history.parquet', 'items.parquet', 'users.parquet']

    Args:
        data: a polars DataFrame or LazyFrame, pandas DataFrame or pyarrow Table, a row a rating;
            the path of a file of text, JSON lines or Parquet; or a `RatingDataModule`, whose split,
            features and seed are then the run's. Each gets every check that the files of the
            command get.
        model: name of a model; or the class or the config of one that is ours or registered.
        loss: likewise.
        user: column of ids: integers or text; `auto`: found by its usual names (user, userId,
            customer), as each column is that is not named.
        item: likewise (item, movieId, product, sku).
        rating: column of finite numbers; None: data without ratings, in which each row is one
            choice, such as a click or a purchase.
        timestamp: column of seconds since 1970, dates or datetimes (UTC where they name no time
            zone); `auto`: where there is one; None: there is none.
        part: column that says `train`, `val` or `test`, for `overrides={"split": "predefined"}`;
            likewise.
        weight: column of numbers above 0, how much a row counts, such as plays; likewise.
        rating_range: lowest and highest rating that the scale allows; None: those found.
        missing: numbers in the column of the ratings that mean that there is none; such rows are
            left out.
        duplicates: several ratings of one item by one user: `last` (in time, else in the frame) or
            `mean`; None: an error.
        users: frame (path, where `data` is one) with a row for each user: the id under the same
            name as in `data`, and any other columns.
        items: likewise for items; `title`, `year` and `genres` are understood.
        run_dir: of the run, which must not be there with a trained run in it; None:
            outputs/train/<time> below the working folder.
        overrides: config key -> value, or config group -> option, as the command train knows them:
            `{"optimizer": "sgd", "optimizer.lr": 0.1, "trainer.accumulate_grad_batches": 2}`.
            Values are those of Python. An `experiment` decides the model and the loss unless
            another is named here.
        callbacks: of Lightning, beside those of the config.
        model_settings: keys of the `model` section, such as `factors=64`.

    Returns:
        The run, with its data at hand for `evaluate` and `report`.

    Raises:
        ConfigError: a name, a key or a value that makes no sense; the message names each.
        DataError: a column is missing or of a wrong type, or a value is wrong, with its row; or
            the split or the features need what is not there.
        CheckpointError: there is a trained run in `run_dir`, or another process is writing there.
        TrainingError: the run had to stop; Ctrl-C stops it after the step under way, saved.
    """
    for each in callbacks:
        if not isinstance(each, Callback):
            raise ConfigError(f"callbacks: {each!r} is no callback of Lightning")
    if not isinstance(overrides, Mapping | None):
        raise ConfigError(
            f"overrides: must be a mapping, such as {{'optimizer.lr': 0.1}} (got {overrides!r})"
        )
    of_model = {f"model.{key}": each for key, each in model_settings.items()}
    optional = {"rating_range": rating_range, "missing": missing, "duplicates": duplicates}
    columns = {
        "columns.user": user,
        "columns.item": item,
        "columns.rating": rating,
        "columns.timestamp": timestamp,
        "columns.part": part,
        "columns.weight": weight,
    }
    config = _config_of(
        data,
        _source_of(data, columns, optional, {"users": users, "items": items}),
        {"model": _part(MODELS, model, "model"), "loss": _part(LOSSES, loss, "loss")},
        {**(overrides or {}), **of_model},
        directory_given=run_dir is not None,
    )
    run = RunDirectory(_new_directory(run_dir, config))
    with torch_threads_put_back, random_numbers_put_back():
        trained = train_run(
            config,
            run,
            read=lambda asked: first_data(asked, data, users, items),
            callbacks=callbacks,
        )
    return replace(TrainedRun.load(run.path), data=trained.data)


def _source_of(
    data: Any,
    columns: Mapping[str, str | None],
    optional: Mapping[str, Any],
    sides: Mapping[str, Any],
) -> dict[str, Any]:
    """What the arguments say of the `data` section, as keys of it."""
    given = {key: each for key, each in optional.items() if each is not None}
    frames = {key: each for key, each in sides.items() if each is not None}
    if isinstance(data, RatingDataModule):
        named = [key for key, each in columns.items() if each != AUTO]
        for key in (*named, *given, *frames):
            name = key.removeprefix("columns.")
            raise ConfigError(f"{name}: is decided by the data module; give it to {MADE_BY}")
        return {}
    if not isinstance(data, str | PathLike):
        return {**columns, **given}
    for key, each in frames.items():
        paths = each if isinstance(each, list | tuple) else [each]
        if not paths or not all(isinstance(path, str | PathLike) for path in paths):
            raise ConfigError(
                f"{key}: must be the path of a file or a list of paths, as data is a path, not a "
                f"{type(each).__name__}"
            )
    files = {f"{key}_path": plain_paths(each) for key, each in frames.items()}
    return {**columns, **given, "path": fspath(data), **files}


def _config_of(
    data: Any,
    source: Mapping[str, Any],
    parts: Mapping[str, str | dict[str, Any]],
    overrides: Mapping[str, Any],
    *,
    directory_given: bool,
) -> RunConfig:
    """The checked config of a run; the ratings are not looked at."""
    module = data if isinstance(data, RatingDataModule) else None
    for key in overrides:
        if key in ARGUMENTS:
            raise ConfigError(f"overrides: {key} is an argument of train(); give it there")
        if module is not None and str(key).split(".")[0] in OF_THE_MODULE:
            raise ConfigError(
                f"overrides: {key} is decided by the data module; give it to {MADE_BY}"
            )
    given = {"data": "csv", **{f"data.{key}": each for key, each in source.items()}}
    # The shipped ones are left to conf/, so that an experiment may choose others.
    chosen = {key: part for key, part in parts.items() if part not in (MODEL, LOSS)}
    values = composed_in_python(conf_folder(), {**given, **chosen, **overrides})
    if module is not None:
        values |= _sections_of(module)
    elif isinstance(data, str | PathLike):
        values["data"] = _keys_of(CustomFileConfig, values["data"], overrides)
    else:
        values["data"] = {**_keys_of(FrameConfig, values["data"], overrides), "name": "frame"}
    typed = [f"{key}=" for key in overrides] + (["hydra.run.dir="] if directory_given else [])
    try:
        config = validated(with_launched_ranks(values, launched(), typed))
    except ConfigError as error:
        hints = [
            f"\n  In Python, pass the column's name as {name}="
            for name in ("rating", "timestamp", "part")
            if f"data.columns.{name}" in str(error)
        ]
        raise ConfigError(f"{error}{''.join(hints)}") from None
    _check_possible_here(config)
    return config


def _keys_of(
    kind: type[DataConfig], values: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Keys of a source, and those typed, right or wrong; an experiment may have others' too."""
    typed = {key.split(".")[1] for key in overrides if key.startswith("data.")}
    return {key: each for key, each in values.items() if key in kind.model_fields or key in typed}


def _sections_of(data: RatingDataModule) -> dict[str, Any]:
    """What a data module has decided of a run."""
    if data.source is None:
        raise ConfigError(
            "data: the data module does not say where its ratings are from, so that no run "
            f"directory could; make it by {MADE_BY}"
        )
    settings = data.settings
    return {
        "data": {**data.source.model_dump(), "batch_size": settings.batch_size},
        "split": settings.split.model_dump(),
        "features": settings.features.model_dump(),
        "seed": settings.seed,
    }


def _check_possible_here(config: RunConfig) -> None:
    trainer = config.trainer
    if trainer.keeps_nothing:
        key = "fast_dev_run" if trainer.fast_dev_run else "barebones"
        raise ConfigError(
            f"trainer.{key}: nothing is kept of such a run, which train() could return; in Python "
            f"use Lightning's own Trainer: pl.Trainer({key}=True).fit(module, datamodule=data)"
        )
    if trainer.strategy != "auto" and trainer.ranks != 1 and launched() is None:
        raise ConfigError(
            f"trainer={trainer.name}: train() starts no further processes; start the program that "
            "calls it by torchrun --nproc-per-node=<ranks>, or use the command on a file"
        )


def _part(registry: Registry, part: Any, group: str) -> str | dict[str, Any]:
    """The name of a model or loss, with all its keys where it is a config."""
    if isinstance(part, str):
        return part
    config = part.config if isinstance(part, Loss) else part
    kind = type(part) if isinstance(part, Loss | Section) else part
    if not isinstance(kind, type) or not issubclass(kind, Section | RatingModel | Loss):
        raise ConfigError(
            f"{group}: must be a name, or the class or config of one (got {part!r}); there are "
            f"{', '.join(registry.names)}"
        )
    name = registry.name_of(kind)
    if name is None:
        raise ConfigError(
            f"{group}: {kind.__name__} is not registered, so that no run could name it; call "
            f"lightning_collab.register_{group}({kind.__name__}) before"
        )
    return {**config.model_dump(), "name": name} if isinstance(config, Section) else name


def _new_directory(given: str | PathLike[str] | None, config: RunConfig) -> Path:
    """Where the run goes; one that nobody else has where none was named."""
    if given is not None:
        return Path(given).expanduser().absolute()
    named = datetime.now().strftime("%Y-%m-%d_%H-%M-%S") + run_suffix(
        config.model.name, config.loss.name
    )
    fresh = (RUNS / named).absolute()
    launch = launched()
    if launch is not None and launch.ranks > 1:
        return Path(run_directory_of_all(str(fresh)))
    try:
        for number in count(1):
            path = fresh if number == 1 else fresh.with_name(f"{fresh.name}-{number}")
            if _made(path):
                break
    except OSError as error:
        raise StorageError(
            f"cannot write the run directory {fresh} ({error.strerror}); set run_dir to a folder "
            "that can be written"
        ) from error
    return path


def _made(path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True
