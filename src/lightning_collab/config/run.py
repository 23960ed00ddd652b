"""The whole config of a run, checked before any data is touched."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lightning_collab.config.data import (
    AbsolutePath,
    BatchSize,
    DataSource,
    FeaturesConfig,
    HistoryConfig,
)
from lightning_collab.config.engine import Engine, TrainingConfig, step_needs, unsupported_parts
from lightning_collab.config.model import (
    RANKING_METRICS,
    Loss,
    MetricsConfig,
    Model,
    ModelConfig,
    Positives,
    SquaredErrorConfig,
)
from lightning_collab.config.optimizer import (
    Averaging,
    LRRangeTestConfig,
    NoAveragingConfig,
    Optimizer,
    Scheduler,
    SWAConfig,
    WarmRestartsConfig,
)
from lightning_collab.config.plugins import plugins_of
from lightning_collab.config.registry import METRICS
from lightning_collab.config.section import Section, checked, suggestion
from lightning_collab.config.split import Split
from lightning_collab.config.trainer import (
    NO_SPARSE_SUMS,
    SOLVED_IN,
    CallbacksConfig,
    LoggersConfig,
    TensorBoardConfig,
    TrainerConfig,
)

# What is measured after each epoch of a run that learns ratings.
OF_RATINGS = ("val/rmse", "val/mae", "val/loss", "train/loss")
# A schedule of more cycles would take longer to be written down than to be followed.
MOST_CYCLES = 1_000_000


class RunConfig(Section):
    """Everything that decides the numbers of a run, and nothing else."""

    # Seed of initial weights, order of ratings and dropout.
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: DataSource
    split: Split
    features: FeaturesConfig = Field(default_factory=FeaturesConfig)
    model: Model
    loss: Loss = SquaredErrorConfig()
    optimizer: Optimizer
    scheduler: Scheduler
    trainer: TrainerConfig
    training: TrainingConfig = TrainingConfig()
    averaging: Averaging = NoAveragingConfig()
    logger: LoggersConfig = LoggersConfig(tensorboard=TensorBoardConfig())
    callbacks: CallbacksConfig = CallbacksConfig()
    metrics: MetricsConfig = MetricsConfig()
    lr_range_test: LRRangeTestConfig = LRRangeTestConfig()
    # Look for a learning rate first, and train with the one found.
    find_lr: bool = False
    # A run whose rows the ids that both know start with; null: all rows are drawn.
    init_from: AbsolutePath | None = None
    # Package and version of each part that is not ours, as a record: nothing is found by it.
    plugins: dict[str, str] = Field(default_factory=dict)

    @property
    def batch_size(self) -> BatchSize:
        """Ratings in a step; all of them where the model is solved."""
        return self.data.batch_size if self.model.by_gradient else "full"

    @property
    def monitor(self) -> str | None:
        """The metric that picks the best checkpoint; None where there is no validation part."""
        if not self.split.has_val:
            return None
        if self.callbacks.monitor is not None:
            return self.callbacks.monitor
        if self.ranks and self.loss.monitor not in self.metrics.rankings:
            return self.metrics.rankings[0]
        return self.loss.monitor

    @property
    def monitor_mode(self) -> Literal["min", "max"]:
        """Which end of the monitored metric is best."""
        monitor = self.monitor
        if monitor is not None and monitor != self.loss.monitor:
            return self.metrics.mode(monitor)
        return self.loss.mode

    @property
    def ranks(self) -> bool:
        """Whether the run learns to rank, so that rankings are measured in place of ratings."""
        return self.loss.metrics == "rankings" or self.model.ranks

    @property
    def positives(self) -> Positives | None:
        """The lowest rating that counts as chosen in training; None: the run learns ratings."""
        if not self.ranks:
            return None
        of_loss: Positives = getattr(self.loss, "positives", "all")
        chosen: Positives = getattr(self.model, "positives", of_loss)
        return chosen

    @property
    def liked(self) -> Positives:
        """The lowest rating of a held-out item that was liked."""
        return self.metrics.liked_beside(self.positives)

    @model_validator(mode="before")
    @classmethod
    def _solved_model_takes_the_positives(cls, values: Any) -> Any:
        """An experiment says in `loss` what was chosen, also for a model that has no loss."""
        if not isinstance(values, Mapping):
            return values
        loss, model = values.get("loss"), values.get("model")
        if not isinstance(loss, Mapping) or not isinstance(model, Mapping):
            return values
        kind = ModelConfig.class_of(model)
        solved = issubclass(kind, ModelConfig) and kind.ranks and not kind.by_gradient
        if not solved or loss.get("name") != "squared_error" or "positives" not in loss:
            return values
        rest = {key: value for key, value in loss.items() if key != "positives"}
        return {**values, "loss": rest, "model": {"positives": loss["positives"], **model}}

    @model_validator(mode="after")
    def _plugins_are_those_of_today(self) -> Self:
        # Past `frozen`: whatever was typed or saved there, it says what is here.
        self.__dict__["plugins"] = plugins_of(self)
        return self

    def as_kept(self) -> Self:
        """What a run directory and its checkpoints keep, in which nothing names code to be run."""
        return self.model_copy(update={"callbacks": self.callbacks.as_kept()})

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> Self:
        self.split.check_source(self.data)
        self._storage_fits()
        self._no_watching_without_validation()
        self._cycle_fits_the_run()
        self._every_rank_has_work()
        self._sparse_gradients_fit()
        self._sharding_fits()
        self._steps_alone_fit()
        self._solver_fits()
        self.model.check_run(self.trainer.max_epochs)
        self._averaging_fits()
        self._features_fit()
        self._ranking_fits()
        self._groups_exist_in_the_model()
        check_engine(self)
        return self

    def _storage_fits(self) -> None:
        self.split.check_storage(self.data)
        if not self.data.mapped:
            return
        key = None
        if not self.model.by_gradient:
            key = f"model={self.model.name}"
        elif self.ranks:
            key = f"loss={self.loss.name}"
        elif self.features:
            key = f"features.{next(name for name, blocks in self.features if blocks)}"
        if key is not None:
            raise ValueError(
                f"{key} needs all ratings in memory, but data.storage=memory_map keeps them on "
                "disk; leave it out, or set data.storage=memory"
            )

    def _no_watching_without_validation(self) -> None:
        if not self.split.has_val:
            for key in ("monitor", "early_stopping"):
                if getattr(self.callbacks, key) is not None:
                    raise ValueError(
                        f"callbacks.{key} needs a validation part, but split.val is 0: "
                        f"set callbacks.{key}=null or a split.val above 0"
                    )
        if self.callbacks.early_stopping is not None and self.trainer.limit_val_batches == 0:
            raise ValueError(
                "callbacks.early_stopping needs validation, but trainer.limit_val_batches is 0: "
                "set callbacks.early_stopping=null or a limit above 0"
            )
        monitor = self.callbacks.monitor
        if monitor is None:
            return
        if self.ranks:
            if monitor not in (*self.metrics.rankings, "train/loss"):
                raise ValueError(
                    f"callbacks.monitor={monitor} is not measured where a run learns to rank; "
                    f"{suggestion(monitor, self.metrics.rankings)}"
                )
            return
        name = monitor.removeprefix("val/")
        if monitor not in self.metrics.logged and name in METRICS:
            raise ValueError(
                f"callbacks.monitor={monitor} is not measured; set metrics.further=[{name}]"
            )
        if name.partition("@")[0] in RANKING_METRICS:
            raise ValueError(
                f"callbacks.monitor={monitor} is a ranking metric, but loss={self.loss.name} is "
                "measured by rating errors; set loss=softmax, bce or bpr, or "
                "callbacks.monitor=null"
            )
        measured = [*OF_RATINGS, *self.metrics.logged]
        if monitor not in measured:
            raise ValueError(
                f"callbacks.monitor={monitor} is not measured; {suggestion(monitor, measured)}"
            )

    def _ranking_fits(self) -> None:
        """What losses that rank, and data without ratings, cannot be combined with."""
        what = f"loss={self.loss.name}" if self.model.by_gradient else f"model={self.model.name}"
        if not self.ranks:
            if not self.data.has_ratings:
                instead = (
                    "loss=softmax, loss=bce or loss=bpr"
                    if self.model.by_gradient
                    else "model=implicit_least_squares or model=ease, or another model and loss"
                )
                raise ValueError(
                    f"{what} needs ratings, but data.columns.rating=null means that there are "
                    f"none; set {instead}"
                )
            return
        if self.metrics.further:
            raise ValueError(
                f"metrics.further={self.metrics.further} compares ratings, and {what} learns to "
                "rank; set metrics.further=[]"
            )
        if self.model.sharded:
            raise ValueError(
                f"model.sharding=row: {what} compares a user with many items, but no rank holds "
                "them all; set model.sharding=none"
            )
        if self.features.time:
            name = next(iter(self.features.time))
            raise ValueError(
                f"features.time.{name}: items that nobody chose have no time, so that {what} "
                f"cannot use it; leave it out (~features.time.{name})"
            )
        for name, block in self.features.users.items():
            if isinstance(block, HistoryConfig):
                raise ValueError(
                    f"features.users.{name}: the history of a user has the items that {what} must "
                    f"find; leave it out (~features.users.{name})"
                )
        for name, block in self.features.items.items():
            if isinstance(block, HistoryConfig):
                raise ValueError(
                    f"features.items.{name}: the history of an item has the users whose choice "
                    f"{what} must find; leave it out (~features.items.{name})"
                )
        if self.loss.by_user and self.data.order == "by_user":
            raise ValueError(
                f"data.order=by_user: {what} already takes each user with everything the user "
                "chose; set data.order=random"
            )
        if self.data.order == "blocked":
            raise ValueError(
                f"data.order=blocked cuts users x items into blocks of ratings, and {what} draws "
                "items beside them; set data.order=random"
            )

    def _cycle_fits_the_run(self) -> None:
        scheduler = self.scheduler
        if isinstance(scheduler, WarmRestartsConfig) and scheduler.cycle_mult == 1:
            cycles = self.trainer.max_epochs / scheduler.cycle_len
            if cycles > MOST_CYCLES:
                raise ValueError(
                    f"scheduler.cycle_len={scheduler.cycle_len:g} gives {cycles:,.0f} cycles in "
                    f"trainer.max_epochs={self.trainer.max_epochs}, and at most {MOST_CYCLES:,} "
                    "can be followed; set it higher, or lower trainer.max_epochs"
                )
        if (
            isinstance(scheduler, WarmRestartsConfig)
            and scheduler.cycle_len > self.trainer.max_epochs
        ):
            raise ValueError(
                f"scheduler.cycle_len: a cycle of {scheduler.cycle_len:g} epochs is longer than "
                f"the run of trainer.max_epochs={self.trainer.max_epochs}"
            )

    def _every_rank_has_work(self) -> None:
        ranks, size = self.trainer.ranks, self.batch_size
        if ranks is not None and size != "full" and size < ranks:
            raise ValueError(
                f"data.batch_size={size} is less than one rating for each of {ranks} ranks; raise "
                "it, or lower trainer.devices"
            )

    def _sparse_gradients_fit(self) -> None:
        if not self.optimizer.sparse_gradients:
            return
        trainer = self.trainer
        if trainer.strategy == "ddp" and trainer.talks_through == "nccl":
            raise ValueError(NO_SPARSE_SUMS)
        for key, given in (
            ("trainer.gradient_clip_val", trainer.gradient_clip_val is not None),
            ("model.sharding", self.model.sharded),
            ("training.engine", self.training.engine == "compiled"),
        ):
            if given:
                raise ValueError(f"optimizer.sparse: cannot be combined with {key}; remove one")

    def _sharding_fits(self) -> None:
        if not self.model.sharded:
            return
        trainer = self.trainer
        if self.init_from is not None:
            raise ValueError(
                "init_from: no rank has whole tables to start from while they are split; set "
                "model.sharding=none, or leave init_from out"
            )
        if trainer.strategy != "ddp":
            raise ValueError(
                f"model.sharding=row splits tables over ranks, but trainer={trainer.name} is a "
                "single process; set trainer=ddp_cpu or trainer=ddp"
            )
        if trainer.precision not in ("32-true", "bf16-mixed"):
            raise ValueError(
                f"trainer.precision={trainer.precision}: split tables train in 32-true or "
                "bf16-mixed"
            )
        if trainer.gradient_clip_val is not None:
            raise ValueError(
                "trainer.gradient_clip_val: no rank has the whole gradient of split tables to "
                "measure; set it to null"
            )
        if self.averaging.name != "none":
            raise ValueError(
                f"averaging={self.averaging.name}: no rank has whole tables to average while they "
                "are split; set averaging=none"
            )

    def _steps_alone_fit(self) -> None:
        if self.trainer.sync_every == 1 or not self.model.by_gradient:
            return
        lazy = [name for name, side in self.optimizer.groups.sides.items() if side.lazy]
        for key, given in (
            (
                "model.sharding=row: tables that are split have no copies to average",
                self.model.sharded,
            ),
            ("data.batch_size=full: an epoch has one step", self.batch_size == "full"),
            ("averaging=ema needs the weights of each step", self.averaging.name == "ema"),
            ("optimizer=torch: it is not known what its state is", self.optimizer.name == "torch"),
            (f"optimizer.groups.{'/'.join(lazy)}.lazy counts the steps of each row", bool(lazy)),
        ):
            if given:
                raise ValueError(
                    f"trainer.sync_every={self.trainer.sync_every}: ranks average their weights, "
                    f"but {key}; set trainer.sync_every=1"
                )

    def _solver_fits(self) -> None:
        if not self.model.by_gradient:
            if self.trainer.strategy == "ddp":
                raise ValueError(
                    f"trainer={self.trainer.name} shares gradients between ranks, but "
                    f"model={self.model.name} is solved without gradients; set trainer=cpu or "
                    "trainer=gpu"
                )
            if self.trainer.precision not in SOLVED_IN:
                raise ValueError(
                    f"trainer.precision={self.trainer.precision}: model={self.model.name} is "
                    "solved by linear equations, which need more digits; set trainer.precision "
                    f"to {', '.join(SOLVED_IN[:-1])} or {SOLVED_IN[-1]}"
                )
            if self.init_from is not None and self.model.keeps_samples:
                raise ValueError(
                    f"init_from: model={self.model.name} is a mean over samples, which no other "
                    "run has drawn; leave it out"
                )
            if self.init_from is not None and not self.model.group_names:
                raise ValueError(
                    f"init_from: model={self.model.name} is found at once and starts from nothing; "
                    "leave it out"
                )
            if self.find_lr:
                raise ValueError(f"find_lr: model={self.model.name} has no learning rate")
            if self.loss.name != "squared_error":
                chosen = getattr(self.model, "positives", "all")
                also = "" if chosen == "all" else f" model.positives={chosen:g}"
                raise ValueError(
                    f"loss={self.loss.name} is minimized by gradient descent, but "
                    f"model={self.model.name} is solved directly; set loss=squared_error{also}"
                )

    def _averaging_fits(self) -> None:
        averaging = self.averaging
        if isinstance(averaging, NoAveragingConfig):
            return
        name = f"averaging={averaging.name}"
        if not self.model.by_gradient:
            raise ValueError(
                f"{name} is for gradient descent, but model={self.model.name} is trained without "
                "it; set averaging=none"
            )
        if averaging.from_epoch >= self.trainer.max_epochs:
            raise ValueError(
                f"averaging.from_epoch={averaging.from_epoch} leaves nothing to average in a "
                f"run of trainer.max_epochs={self.trainer.max_epochs}"
            )
        by_cycle = isinstance(averaging, SWAConfig) and averaging.every == "cycle"
        if by_cycle and not isinstance(self.scheduler, WarmRestartsConfig):
            raise ValueError(
                f"averaging.every=cycle: scheduler={self.scheduler.name} has no cycles; set "
                "scheduler=warm_restarts, or averaging.every=epoch"
            )

    def _features_fit(self) -> None:
        if self.features and not self.model.takes_features:
            raise ValueError(
                f"features: model={self.model.name} knows users and items by their ids alone; set "
                "features=none, or another model"
            )
        if self.features.id_dropout and not self.model.by_gradient:
            raise ValueError(
                f"features.id_dropout: model={self.model.name} is solved without steps that could "
                "leave out rows; set features.id_dropout=0"
            )
        if self.features.time and not self.data.has_timestamps:
            name = next(iter(self.features.time))
            raise ValueError(
                f"features.time.{name} needs timestamps, which data={self.data.name} has not been "
                f"told of; leave it out (~features.time.{name}) or, with data=csv, set "
                "data.columns.timestamp, with data=synthetic data.timestamps=true"
            )

    def _groups_exist_in_the_model(self) -> None:
        for group, config in self.optimizer.groups:
            of_time = group == "biases" and self.features.time
            for side in ("users", "items"):
                own = getattr(config, side, None)
                if own is not None and own != type(own)() and group not in self.model.group_names:
                    raise ValueError(
                        f"optimizer.groups.{group}.{side}: model={self.model.name} has no {group} "
                        f"of {side}; leave it out"
                    )
            if config == type(config)(weight_decay=0.0):
                continue  # what does not exist does not shrink
            if config != type(config)() and group not in self.model.group_names and not of_time:
                raise ValueError(
                    f"optimizer.groups.{group}: model={self.model.name} has no such group; "
                    f"it has {', '.join(self.model.group_names)}"
                )


def validated(config: Mapping[str, Any]) -> RunConfig:
    """The typed config of a plain dictionary.

    Args:
        config: the composed config, resolved, as nested dictionaries of plain values.

    Returns:
        The config, typed and complete.

    Raises:
        ConfigError: a key that is unknown or missing, a value of the wrong type or out of range,
            or a combination that makes no sense; the message names each key.
    """
    return checked(RunConfig, config)


def unsupported_reason(engine: Engine, config: RunConfig) -> str | None:
    """Why an engine cannot do what a config asks, as far as the config alone can tell.

    Args:
        engine: which.
        config: of the run; its model is trained by gradient descent.

    Returns:
        The reason, naming the key, or None.
    """
    reason = unsupported_parts(
        engine,
        model=config.model,
        loss=config.loss,
        optimizer=config.optimizer,
        training=config.training,
        with_features=bool(config.features),
        id_dropout=config.features.id_dropout,
    )
    trainer = config.trainer
    if reason is not None or engine in ("eager", "compiled"):
        return reason
    if trainer.strategy != "auto" or trainer.num_nodes > 1 or trainer.ranks not in (1, None):
        return f"the {engine} engine runs in one process, but trainer={trainer.name} has several"
    if engine == "graphs":
        if trainer.accelerator not in ("gpu", "cuda", "auto"):
            return f"graphs are CUDA's, but trainer={trainer.name} is not on a GPU"
        return step_needs(trainer.model_dump()).autograd
    if config.ranks and trainer.gradient_clip_val is not None:
        return f"there are no fused kernels for trainer.gradient_clip_val with {config.loss.name}"
    if config.averaging.name == "ema":
        return "the fused engine takes many steps at a time, but averaging=ema needs each one"
    if trainer.accelerator not in ("cpu", "auto"):
        return f"the fused engine is CPU-only, but trainer={trainer.name} is not"
    needs = step_needs(trainer.model_dump())
    if needs.autograd is not None:
        return needs.autograd
    if config.training.sgd_threads > 1:
        return needs.single or _threads_unsupported_reason(config)
    return None


def _threads_unsupported_reason(config: RunConfig) -> str | None:
    """What is not plain SGD on single ratings, which alone can be taken side by side."""
    optimizer = config.optimizer
    wanted = {
        "data.batch_size=1": config.batch_size == 1,
        "optimizer=sgd": optimizer.name == "sgd",
        "optimizer.momentum=0": getattr(optimizer, "momentum", 0) == 0,
        "trainer.gradient_clip_val=null": config.trainer.gradient_clip_val is None,
        "features=none": not config.features,
    }
    missing = [key for key, there in wanted.items() if not there]
    if not missing:
        return None
    return f"training.sgd_threads needs plain steps on single ratings: set {' '.join(missing)}"


def check_engine(config: RunConfig) -> None:
    """Refuse an engine that cannot do what the config asks, naming the nearest that can.

    Args:
        config: of the run.

    Raises:
        ValueError: the engine that is asked for, or every one, has a reason not to.
    """
    asked = config.training.engine
    if not config.model.by_gradient:
        if config.training != TrainingConfig():
            raise ValueError(
                f"training: model={config.model.name} is solved directly, without an engine"
            )
        return
    order: tuple[Engine, ...] = ("fused", "eager", "compiled", "graphs")
    able = [engine for engine in order if unsupported_reason(engine, config) is None]
    if asked == "auto":
        if not able:
            key = "sgd_threads" if config.training.sgd_threads > 1 else "row_updates"
            value = getattr(config.training, key)
            raise ValueError(f"training.{key}={value}: {unsupported_reason('fused', config)}")
        return
    reason = unsupported_reason(asked, config)
    if reason is not None:
        instead = f"set training.engine={able[0]} or auto" if able else "no other engine can either"
        raise ValueError(f"training.engine={asked}: {reason}; {instead}")
