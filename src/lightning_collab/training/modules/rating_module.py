"""Training by gradient descent: any model, any loss, any optimizer and schedule."""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from pydantic import Field
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, distributed

from lightning_collab.compat import compiler_error, loader_position
from lightning_collab.config.engine import TrainingConfig
from lightning_collab.config.model import Loss as LossSection
from lightning_collab.config.model import SquaredErrorConfig
from lightning_collab.config.optimizer import AdamConfig, Optimizer, Scheduler, WarmRestartsConfig
from lightning_collab.config.section import Section, checked
from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.feed import Feed
from lightning_collab.errors import ConfigError
from lightning_collab.losses import Loss, PointwiseLoss, UserLoss, build_loss, feed_of
from lightning_collab.models import RatingModel
from lightning_collab.runs.checkpoints import steps_of_checkpoint
from lightning_collab.runs.invocation import called_as
from lightning_collab.training.engine import EngineChoice, choose_engine
from lightning_collab.training.graphs import CudaRecorder, GraphedSteps, settle_on_device
from lightning_collab.training.modules.base_module import NO_NUMBER, BaseModule
from lightning_collab.training.modules.objective import RowDecay, build_objective
from lightning_collab.training.optimizers import build_optimizer, parameter_groups
from lightning_collab.training.schedules import Schedule, build_schedule
from lightning_collab.training.sharding.sharded_table import is_sharded, shard_tables
from lightning_collab.training.sharding.strategy import LocalStepsStrategy, RowShardingStrategy

log = logging.getLogger(__name__)


class StepSections(Section):
    """Of a run's config, what decides each step."""

    loss: LossSection = SquaredErrorConfig()
    optimizer: Optimizer = AdamConfig()
    scheduler: Scheduler = WarmRestartsConfig()
    training: TrainingConfig = TrainingConfig()
    # Norm to which gradients are clipped; null: not.
    clip: Annotated[float, Field(gt=0)] | None = None


class RatingModule(BaseModule):
    """Makes a loss small by gradient descent on batches, under any `pl.Trainer`.

    Which engine takes the optimizer steps is decided when the trainer is known: the fused one,
    many steps at each batch of Lightning, where nothing in the trainer looks at single steps; the
    same kernels one step at a time where something counts steps; autograd where something is about
    gradients, devices or precisions that the kernels do not know. The weights are the same but for
    rounding. `steps_done` counts optimizer steps whichever it is; `trainer.global_step` counts
    Lightning's.

    Args:
        model: what is trained.
        loss: what is made small; None: squared error.
        optimizer: its section of the config, or a mapping of its keys; None: Adam as shipped.
        scheduler: of the learning rate, likewise; None: warm restarts as shipped.
        training: the `training` section, likewise: engine, row updates, threads.
        clip: norm to which gradients are clipped, whatever the engine; None: not.
        schedule: factor on the learning rate at each step, in place of the scheduler's.
        of_run: see `BaseModule`.

    Raises:
        ConfigError: a key of optimizer, scheduler or training that is unknown, of a wrong type or
            out of range; a parameter of the model is in no group or in two.

    Example:
        >>> data = lightning_collab.RatingDataModule.from_frame(frame, batch_size=64)
        >>> model = lightning_collab.EmbeddingDotBias.for_data(data, factors=8)
        >>> module = lightning_collab.RatingModule(model, optimizer={"name": "sgd", "lr": 0.1})
        >>> pl.Trainer(max_epochs=3).fit(module, datamodule=data)
    """

    def __init__(
        self,
        model: RatingModel,
        loss: Loss | None = None,
        *,
        optimizer: Optimizer | Mapping[str, Any] | None = None,
        scheduler: Scheduler | Mapping[str, Any] | None = None,
        training: TrainingConfig | Mapping[str, Any] | None = None,
        clip: float | None = None,
        schedule: Schedule | None = None,
        **of_run: Any,
    ) -> None:
        super().__init__(model, loss, **of_run)
        sections = checked(
            StepSections,
            {
                "loss": self.loss.config,
                "optimizer": optimizer or {"name": "adam"},
                "scheduler": scheduler or {"name": "warm_restarts"},
                "training": training or {},
                "clip": clip,
            },
        )
        self.optimizer_config = sections.optimizer
        self.scheduler_config = sections.scheduler
        self.training_config = sections.training
        self.clip = clip
        if "optimizer" not in self.config:
            # Of no run, whose config has all of them.
            self.config = {**self.config, **sections.model_dump(mode="json")}
        self.choice = EngineChoice("eager", "no trainer yet")
        self.steps_per_epoch = 0
        self.schedule: Schedule = schedule or (lambda step: 1.0)
        self._given_schedule = schedule
        self._steps_done = 0
        self._batch_size = 0
        # Steps at which a cycle of the schedule ends.
        self._ends: frozenset[int] = frozenset()
        # Why the fused engine cannot take these steps, as far as the data says.
        self.unsupported_by_data: str | None = None
        # Of each parameter group, what the config says.
        self._settings: list[dict[str, Any]] = []
        # Whether the rows that the model has when training begins are those to begin with.
        self.keeps_start = False
        # Whether the resumed epoch has another number of Lightning's batches than later ones.
        self._reload_once = False
        # In a tuple, so that it is no submodule and the checkpoint is that of any engine.
        self._compiled: tuple[Callable[..., tuple[Tensor, Tensor]]] | None = None
        self._graphs: GraphedSteps | None = None
        for tables in model.lookup_tables().values():
            for table in tables.values():
                table.sparse = self.optimizer_config.sparse_gradients
        on_rows = self.optimizer_config.decay == "per_row"
        decays = {
            each["name"]: each["weight_decay"]
            for each in self._parameter_groups()
            if each["weight_decay"] and on_rows
        }
        decay = RowDecay(model, decays, self.optimizer_config.frequency_power)
        self.objective = build_objective(model, self.loss, decay)

    @classmethod
    def _settings_of(
        cls, config: Mapping[str, Any], path: Path, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        keys = [key for key in StepSections.model_fields if key in config and key not in given]
        trainer = config.get("trainer") or {}
        clip = config.get("clip", trainer.get("gradient_clip_val"))
        if trainer.get("gradient_clip_algorithm") == "value":
            clip = None  # Lightning did it
        try:
            found = checked(StepSections, {**{key: config[key] for key in keys}, "clip": clip})
        except ConfigError as error:
            raise ConfigError(
                f"{path}: {error}\nPass load_from_checkpoint a replacement for the part that this "
                "version does not know, such as optimizer=..."
            ) from None
        settings = {key: getattr(found, key) for key in (*keys, "clip") if key not in given}
        if "loss" in settings:
            settings["loss"] = build_loss(found.loss)
        return settings

    @property
    def steps_done(self) -> int:
        """Optimizer steps since the beginning of the training, over all resumes and engines."""
        return self._steps_done

    def configure_model(self) -> None:
        """Split the tables over the ranks where the strategy asks for it, once."""
        strategy = self.trainer.strategy
        if isinstance(strategy, RowShardingStrategy) and not is_sharded(self.model):
            shard_tables(self.model, strategy.row_mesh)

    def configure_callbacks(self) -> list[pl.Callback]:
        """Choose the engine: the first hook that knows the trainer, before Lightning checks it.

        Returns:
            No callback.
        """
        if self.trainer.state.fn == TrainerFn.FITTING:
            if not self.global_step:
                # A trainer of its own: a checkpoint that it goes on from is read later.
                self._steps_done = 0
            data = self.given_data
            if data is not None:
                data.feed = feed_of(self.loss)
                self._count_rows(data)
            with_features = bool(self.model.features() or len(self.model.time_effects))
            self.choice = choose_engine(
                self, self.trainer, asked=self.training_config.engine, with_features=with_features
            )
            self.automatic_optimization = self.choice.engine not in ("fused", "graphs")
            if self.stops_on_divergence:
                log.info("%s", self.choice)
            if self.choice.engine == "compiled":
                # Sizes are left open, so that the last batch of an epoch, which is smaller,
                # compiles nothing.
                self._compiled = (torch.compile(self.objective, dynamic=True),)
            if data is not None:
                self._plan(data)
        return []

    def _count_rows(self, data: RatingDataModule) -> None:
        """Tell the objective how often each row comes in an epoch."""
        decay = self.objective.decay
        self.unsupported_by_data = None
        if data.feed.of == "users":
            self.objective.users_per_epoch = data.rows_per_epoch
            if data.samples_per_batch:
                self.unsupported_by_data = (
                    "items are drawn for the catalog, which is above loss.catalogue_limit, "
                    "but the fused kernels need all of it"
                )
        if data.feed.of == "pairs" and self.optimizer_config.name == "sgd":
            size = data.rows_per_batch
            if size > 1:
                self.unsupported_by_data = (
                    f"optimizer=sgd with loss={self.loss.config.name} has fused kernels for "
                    f"data.batch_size=1, and here it is {size}"
                )
        if self.clip is not None and data.feed.of != "ratings":
            what = f"with loss={self.loss.config.name}"
            self.unsupported_by_data = f"there are no fused kernels for clipped gradients {what}"
        if decay.decays and (decay.power != 1 or data.feed.of == "users"):
            learned = data.learned
            decay.count({"users": learned.user_counts, "items": learned.item_counts})

    def _plan(self, data: RatingDataModule) -> None:
        """The steps of an epoch, and where a block of them ends."""
        limit: int | float = self.trainer.limit_train_batches
        batches = data.batches_per_epoch
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        batches = max(batches, 1)  # of none Lightning trains nothing
        self._batch_size = data.rows_per_batch
        if data.settings.order == "auto" and self.stops_on_divergence:
            log.info("order of an epoch: %s", data.order)
        self._schedule_steps(batches)
        data.block_ends = None
        if self.choice.blocks:
            from lightning_collab.training.fused.blocks import block_ends

            data.block_ends = block_ends(
                self.model,
                batches=batches,
                batch_size=self._batch_size,
                threads=self.training_config.sgd_threads,
                cuts=(end % batches for end in self.cycle_ends()),
                ratings_per_row=data.terms_per_row,
            )

    def _schedule_steps(self, batches: int) -> None:
        """The schedule over the run, with so many batches in an epoch."""
        trainer = self.trainer
        self.steps_per_epoch = math.ceil(batches / trainer.accumulate_grad_batches)
        epochs, steps = trainer.max_epochs or -1, trainer.max_steps
        total = self.steps_per_epoch * epochs if epochs > 0 else steps
        if self._given_schedule is not None:
            return
        if total < 0 and self.scheduler_config.name in ("one_cycle", "linear"):
            raise ConfigError(
                f"scheduler={self.scheduler_config.name} needs to know where the run ends; give "
                "the trainer max_epochs or max_steps"
            )
        self.schedule = build_schedule(
            self.scheduler_config,
            lr=self.optimizer_config.lr,
            steps_per_epoch=self.steps_per_epoch,
            total_steps=min(total, steps) if steps > 0 else total,
        )

    def cycle_ends(self) -> list[int]:
        """Optimizer steps at which a cycle of the schedule ends, ascending; of the whole run."""
        epochs = self.trainer.max_epochs or -1
        scheduler = self.scheduler_config
        if self._given_schedule or epochs < 0 or not isinstance(scheduler, WarmRestartsConfig):
            return []
        return [round(end * self.steps_per_epoch) for end in scheduler.cycle_ends(epochs)]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer over the named groups; its rates follow the schedule at each step."""
        groups = self._parameter_groups()
        if self.choice.engine == "fused":
            optimizer = self._fused_optimizer(groups)
        elif self.choice.engine == "graphs":
            optimizer = build_optimizer(groups, self.optimizer_config, graphed=True)
        else:
            fused = self.device.type == "cuda" and not is_sharded(self.model)
            if fused:
                # Torch's fused Adam undoes the scaling of losses itself, where nothing can clip.
                fused = getattr(self.trainer.precision_plugin, "scaler", None) is None
            optimizer = build_optimizer(groups, self.optimizer_config, fused=fused)
        self._settings = [
            {key: value for key, value in group.items() if key not in ("params", "lr")}
            for group in optimizer.param_groups
        ]
        return optimizer

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Those of the model, without a gradient where the loss has none."""
        groups = parameter_groups(self.model, self.optimizer_config)
        if isinstance(self.loss, UserLoss) and self.loss.ignores_level:
            for parameter in self.model.side_parameters("biases", "users"):
                parameter.requires_grad_(False)
        return groups

    def _fused_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        # numba takes a while to import.
        from lightning_collab.training.fused.fused_optimizer import FusedSteps
        from lightning_collab.training.fused.net_kernel import FusedNet
        from lightning_collab.training.fused.ranking_optimizer import FusedRanking

        if not isinstance(self.loss, PointwiseLoss):
            return FusedRanking(groups, self.optimizer_config, self.model, self.objective)

        threads = self.training_config.sgd_threads
        # Blocks that share no row are taken at the same time as they are one after the other.
        if threads > 1 and ((data := self.given_data) is None or data.order != "blocked"):
            log.warning(
                "training.sgd_threads=%d: steps are taken in another order than by one thread, "
                "so that the numbers are those of this many threads",
                threads,
            )
        kind = FusedNet if self.model.config.fused_ids_only else FusedSteps
        return kind(
            groups,
            self.optimizer_config,
            self.model,
            lazy=self.training_config.row_updates == "lazy",
            clip=self.clip,
            threads=threads,
        )

    def teardown(self, stage: str) -> None:
        """Leave the data as it was."""
        super().teardown(stage)
        data = self.given_data
        self._graphs = None
        if stage == "fit" and data is not None:
            data.block_ends = data.position = None
            data.feed = Feed()

    def on_fit_start(self) -> None:
        """Start item biases at the log of how often items were chosen, where the loss wants it."""
        data = self.given_data
        wanted = isinstance(self.loss, UserLoss) and self.loss.starts_at_popularity
        biases = self.model.lookup_tables().get("biases", {})
        if self._steps_done or not wanted or self.keeps_start or "items" not in biases:
            return
        if data is not None:
            weight = biases["items"].weight.data
            logs = torch.from_numpy(data.learned.item_counts[1:]).clamp(min=0.5).log()
            weight[1:] = (logs - logs.mean())[:, None].to(weight)

    def on_train_start(self) -> None:
        """Continue at the rate of the schedule.

        Raises:
            ConfigError: a limit on steps, which the checkpoint's engine has counted otherwise; a
                schedule over epochs that have no end.
        """
        super().on_train_start()
        if not self.steps_per_epoch:
            # Loaders of others: how many batches they have is known when they have been set up.
            batches = self.trainer.num_training_batches
            if math.isinf(batches) and self.scheduler_config.name != "constant":
                raise ConfigError(
                    f"scheduler={self.scheduler_config.name} counts epochs, and the training "
                    'loader has no length; give it one, or set scheduler={"name": "constant"}'
                )
            self._schedule_steps(1 if math.isinf(batches) else int(batches))
        if self.trainer.max_steps > 0 and self.global_step != self._steps_done:
            raise ConfigError(
                f"trainer.max_steps={self.trainer.max_steps}: the checkpoint has "
                f"{self._steps_done} steps, which another engine has counted; continue without "
                "trainer.max_steps, or with the engine of the run"
            )
        self._ends = frozenset(self.cycle_ends())
        self._take_settings()
        if self.choice.engine == "graphs":
            optimizer = self.trainer.optimizers[0]
            settle_on_device(optimizer, self.device)
            self._graphs = GraphedSteps(
                self.objective, optimizer, clip=self.clip, recorder=CudaRecorder()
            )
        self._follow_schedule()

    def on_train_epoch_start(self) -> None:
        """Reset the count of the loss; loaders of later epochs are as long as ever."""
        super().on_train_epoch_start()
        if self._reload_once:
            self.trainer.reload_dataloaders_every_n_epochs = 0  # type: ignore[attr-defined]
            self._reload_once = False

    def training_step(self, batch: RatingBatch, batch_idx: int) -> Tensor | dict[str, Any]:
        """The loss of this rank's share, or of the last step of a block that is taken here.

        Args:
            batch: this rank's share of a batch; a block of batches where `choice.blocks`.
            batch_idx: counted by Lightning.

        Returns:
            Scaled so that the mean over ranks is the mean over the whole batch, which is that over
            its share for a rank that takes steps by itself.
        """
        if self.choice.engine == "fused":
            return self._take_block(batch)
        if self._graphs is not None:
            return self._take_graphed(batch)
        loss, total = self._compiled_loss(batch) if self._compiled else self.objective(batch)
        self.count_loss(loss, batch.terms)
        return total * (self.trainer.world_size / batch.whole_terms)

    def _compiled_loss(self, batch: RatingBatch) -> tuple[Tensor, Tensor]:
        """The same, compiled; where the compiler fails, the run says so and continues without."""
        assert self._compiled is not None
        try:
            return self._compiled[0](batch)
        except compiler_error() as error:
            reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
            log.warning("torch.compile failed, so the run continues without it: %s", reason)
            self._compiled = None
        return self.objective(batch)

    def _take_settings(self) -> None:
        """Rates, decays and the like are those of the config, where a checkpoint had others."""
        if not self._settings:
            return  # of an optimizer of somebody else's
        for group, own in zip(self._groups(), self._settings, strict=True):
            group.update(own)

    def _take_block(self, batch: Any) -> dict[str, Any]:
        if not isinstance(batch, RatingBatch):
            return self._take_ranking_block(batch)
        from lightning_collab.training.fused.blocks import last_loss, take_block

        size = self._batch_size or len(batch.ratings)
        losses = take_block(self.optimizers(), batch, size, self.schedule, self._steps_done)
        summed = torch.tensor(losses.squared_errors.sum(), dtype=torch.float64)
        self.count_loss(summed, len(batch.ratings))
        self._count_steps(losses.taken)
        if losses.taken < len(losses.squared_errors) and self.stops_on_divergence:
            self._stop(NO_NUMBER)
        return {"loss": last_loss(losses, batch, size)}

    def _take_graphed(self, batch: Any) -> dict[str, Any]:
        """A step within Lightning's own, which counts it."""
        graphs, found = self._graphs, []
        assert graphs is not None
        optimizer: Any = self.optimizers()
        optimizer.step(closure=lambda: found.append(graphs.take(batch)))
        (losses,) = found
        self.count_loss(losses.summed, batch.terms)
        self._count_steps(1)
        return {"loss": losses.mean}

    def _take_ranking_block(self, batch: Any) -> dict[str, Any]:
        from lightning_collab.training.fused.blocks import take_ranking_block

        size = self._batch_size or len(batch.users)
        # The penalty of a step is wanted where somebody looks at its loss.
        penalty = self._penalty(batch) if len(batch.users) <= size else 0.0
        losses = take_ranking_block(self.optimizers(), batch, size, self.schedule, self._steps_done)
        self.count_loss(torch.tensor(losses.sums.sum(), dtype=torch.float64), batch.terms)
        self._count_steps(losses.taken)
        if losses.taken < len(losses.sums) and self.stops_on_divergence:
            self._stop(NO_NUMBER)
        return {"loss": torch.tensor(losses.sums[-1] / losses.terms[-1] + penalty)}

    @torch.no_grad()
    def _penalty(self, batch: Any) -> float:
        if not self.objective.decay.decays:
            return 0.0
        loss, total = self.objective(batch)
        return float(total - loss) / int(batch.terms)

    def optimizer_step(self, epoch: int, batch_idx: int, *arguments: Any, **named: Any) -> None:
        """A step of autograd's, counted; after some, ranks that are apart average."""
        super().optimizer_step(epoch, batch_idx, *arguments, **named)
        self._count_steps(1)
        strategy = self.trainer.strategy
        if isinstance(strategy, LocalStepsStrategy):
            last = batch_idx + 1 >= self.trainer.num_training_batches
            if last or (batch_idx + 1) % strategy.every == 0 or self._steps_done in self._ends:
                strategy.average()

    def _agree(self) -> None:
        """Have one model on all ranks before it is looked at."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return  # a single rank, or a trial of a batch, which has no trainer
        strategy = self.trainer.strategy
        if isinstance(strategy, LocalStepsStrategy):
            strategy.average()

    def on_validation_start(self) -> None:
        """All ranks validate one model."""
        self._agree()
        super().on_validation_start()

    def on_train_epoch_end(self) -> None:
        """All ranks end an epoch with one model."""
        self._agree()
        super().on_train_epoch_end()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip to the trainer's value, or to this module's own norm."""
        if gradient_clip_val is None and self.clip is not None:
            self.clip_gradients(optimizer, self.clip, "norm")
        else:
            super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )

    def _count_steps(self, taken: int) -> None:
        first, self._steps_done = self._steps_done, self._steps_done + taken
        self._log_rates(first, taken)
        self._follow_schedule()

    def _follow_schedule(self) -> None:
        """Give each group the rate of the next step: one factor, which keeps their ratios."""
        factor = self.schedule(self._steps_done)
        for group in self._groups():
            rate = group["initial_lr"] * factor
            if self._graphs is None:
                group["lr"] = rate
            else:
                group["lr"].fill_(rate)

    def _groups(self) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = self.trainer.optimizers[0].param_groups
        return groups

    def _log_rates(self, first: int, taken: int) -> None:
        """The points of the learning-rate curves, at the same steps whatever the engine."""
        trainer: Any = self.trainer
        every = trainer.log_every_n_steps
        steps = range(first + (-first - 1) % every, first + taken, every) if every else range(0)
        if not steps or not trainer.loggers or self._given_schedule:
            return
        if any(isinstance(each, LearningRateMonitor) for each in trainer.callbacks):
            return
        optimizer = trainer.optimizers[0]
        kind = getattr(optimizer, "name", type(optimizer).__name__)
        for step in steps:
            factor = self.schedule(step)
            rates = {
                f"lr-{kind}/{group['name']}": group["initial_lr"] * factor
                for group in self._groups()
            }
            for logger in trainer.loggers:
                logger.log_metrics(rates, step=step)

    def on_train_batch_end(self, outputs: Any, batch: RatingBatch, batch_idx: int) -> None:
        """Look whether the loss explodes; on a device only now and then."""
        if self.choice.engine == "fused":
            self._stop_if_diverged()
        else:
            super().on_train_batch_end(outputs, batch, batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the number of steps."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["steps_done"] = self._steps_done

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue at the checkpoint's step, whatever its batches of Lightning were."""
        super().on_load_checkpoint(checkpoint)
        self._steps_done = steps_of_checkpoint(checkpoint)
        data = self.given_data
        if self.trainer.state.fn == TrainerFn.FITTING and data is not None:
            self._go_on_at(loader_position(checkpoint), data)

    def _go_on_at(self, position: Mapping[str, int] | None, data: RatingDataModule) -> None:
        """Finish the checkpoint's epoch in this engine's batches, after those that it counted."""
        data.position = position
        trainer: Any = self.trainer
        if position is None or trainer.reload_dataloaders_every_n_epochs:
            return
        ends = data.block_ends or range(1, data.batches_per_epoch + 1)
        before = sum(end <= position["next_batch"] for end in ends)
        if position.get("yielded", position["next_batch"]) != before:
            self._reload_once = True
            trainer.reload_dataloaders_every_n_epochs = 1

    def advice_on_divergence(self) -> str:
        """What to do when the loss is no longer a number."""
        return (
            f"the learning rate {self.optimizer_config.lr:g} is too high for this model: lower "
            f"optimizer.lr, or let {called_as('find-lr')} suggest one"
        )
