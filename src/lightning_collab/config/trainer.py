"""`conf/trainer`, `conf/callbacks`, `conf/logger`: where a run trains, and what follows it."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from lightning_collab.config.section import EMPTY_IF_NULL, MOST, Section

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=MOST)]
# Of batches: so many, or this share of them.
Limit = Annotated[int, Field(ge=0, le=MOST)] | Annotated[float, Field(ge=0, le=1)]
Precision = Literal[
    "32-true", "64-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "transformer-engine"
]
# Those that are exact enough for a model that is solved by linear equations.
SOLVED_IN: tuple[Precision, ...] = ("32-true", "64-true", "bf16-mixed")
NO_SPARSE_SUMS = (
    "optimizer.sparse: ranks that talk through NCCL add up dense gradients only; set "
    "model.sharding=row for large tables"
)
# Lightning's arguments that a run directory has answers of its own for: what to set instead.
NOT_ARGUMENTS = {
    "logger": "choose loggers with the config group logger (logger=csv, logger=none)",
    "callbacks": "add callbacks with callbacks.further",
    "default_root_dir": "set hydra.run.dir (in Python run_dir) to the folder of the run",
    "enable_checkpointing": "best.ckpt and last.ckpt are needed to use a run; they are small",
    "enable_progress_bar": "set callbacks.progress_bar",
}


class TrainerConfig(Section):
    """Arguments of Lightning's Trainer, by its own names, and the threads of a rank.

    Those that are null are as Lightning has them by default, but for the sanity check and the
    summary of the model, which are off here.
    """

    name: str = "cpu"
    # Kind of device.
    accelerator: Literal["cpu", "gpu", "cuda", "mps", "tpu", "auto"] = "cpu"
    # How many devices of this kind on each machine, or which; auto: all.
    devices: Count | Literal["auto"] | list[Annotated[int, Field(ge=0, le=MOST)]] = 1
    # How many machines.
    num_nodes: Count = 1
    # How ranks share the work; ddp: each takes a share of each batch; another name is Lightning's.
    strategy: str = "auto"
    # What ranks talk through; null: torch's choice for the device.
    process_group_backend: Literal["gloo", "nccl"] | None = None
    # Steps that ranks take by themselves before they average their weights; 1: each step is that of
    # the whole batch, as one process takes it.
    sync_every: Count = 1
    # Floating-point format of the training.
    precision: Precision = "32-true"
    # CPU threads of each rank; null: torch's choice.
    threads: Count | None = 1
    # Passes over the training ratings, in all (also after a resume).
    max_epochs: Count = 15
    # Optimizer steps between two points of the step curves.
    log_every_n_steps: Count = 50
    # Norm to which gradients are clipped; null: not.
    gradient_clip_val: Annotated[float, Field(gt=0, le=1e30)] | None = None
    # norm: of all gradients together; value: each entry.
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    # Batches in an epoch, or their share, for a quick try; null: all.
    limit_train_batches: Limit | None = None
    # Batches of the validation part, or their share; null: all.
    limit_val_batches: Limit | None = None
    # Batches of the test part, or their share; null: all.
    limit_test_batches: Limit | None = None
    # Batches of a prediction, or their share; null: all.
    limit_predict_batches: Limit | None = None
    # One batch (or so many) of each part, to see that all of it runs; no checkpoint, no curves.
    fast_dev_run: bool | Count | None = None
    # Passes that early stopping must let happen.
    min_epochs: Count | None = None
    # Optimizer steps, in all; null: no limit but that of the epochs.
    max_steps: Annotated[int, Field(ge=0, le=MOST)] | None = None
    # Optimizer steps that early stopping must let happen.
    min_steps: Count | None = None
    # Longest time of the training, as DD:HH:MM:SS; null: no limit.
    max_time: Annotated[str, Field(pattern=r"^\d+:\d\d:\d\d:\d\d$")] | None = None
    # Train on the same so many batches (or this share) again and again.
    overfit_batches: Limit | None = None
    # Batches between two validations, or a share of the epoch, or a time as DD:HH:MM:SS.
    val_check_interval: Count | Share | str | None = None
    # Epochs between two validations.
    check_val_every_n_epoch: Count | None = 1
    # Batches that are validated before the training, to see that it works.
    num_sanity_val_steps: Annotated[int, Field(ge=-1, le=MOST)] = 0
    # Lightning's table of the model's layers.
    enable_model_summary: bool = False
    # Batches whose gradients make one optimizer step.
    accumulate_grad_batches: Count = 1
    # Only deterministic algorithms; warn: say where there is none.
    deterministic: bool | Literal["warn"] | None = None
    # Let cuDNN time its algorithms.
    benchmark: bool | None = None
    # torch.inference_mode in place of no_grad while measuring.
    inference_mode: bool = True
    # Whether Lightning may share out a loader of others to the ranks; ours is shared out already.
    use_distributed_sampler: bool = False
    # Times of each hook: simple, advanced or pytorch.
    profiler: Literal["simple", "advanced", "pytorch", "xla"] | None = None
    # Look for NaN in each backward pass.
    detect_anomaly: bool = False
    # Nothing but the loop, to see what it costs; no checkpoint, no curves, no metrics.
    barebones: bool = False
    # Batch norm over all ranks, for models of your own.
    sync_batchnorm: bool = False
    # Epochs after which the loaders are recreated; 0: never.
    reload_dataloaders_every_n_epochs: Annotated[int, Field(ge=0, le=MOST)] = 0
    # Let loggers that can do so take hyper-parameters of their own accord.
    enable_autolog_hparams: bool = True
    # Name in Lightning's registry of models.
    model_registry: str | None = None
    # Plug-ins of Lightning by `_target_`; typed, never from a saved run.
    plugins: list[dict[str, Any]] = Field(default_factory=list, exclude=True)

    @property
    def ranks(self) -> int | None:
        """Processes on all machines; None where it depends on the devices that there are."""
        if self.devices == "auto":
            return None
        return (len(self.devices) if isinstance(self.devices, list) else self.devices) * (
            self.num_nodes
        )

    @property
    def talks_through(self) -> str | None:
        """The backend of the ranks; None: it depends on the devices that there are."""
        of_device = {"cpu": "gloo", "gpu": "nccl", "cuda": "nccl"}
        return self.process_group_backend or of_device.get(self.accelerator)

    @property
    def keeps_nothing(self) -> bool:
        """Whether Lightning leaves out checkpoints and curves."""
        return bool(self.fast_dev_run) or self.barebones

    @model_validator(mode="before")
    @classmethod
    def _what_a_run_decides_itself(cls, values: Any) -> Any:
        for key, instead in NOT_ARGUMENTS.items():
            if isinstance(values, Mapping) and key in values:
                raise ValueError(f"trainer.{key} cannot be set: {instead}")
        return values

    @model_validator(mode="after")
    def _profiler_is_there(self) -> Self:
        if self.profiler == "xla" and find_spec("torch_xla") is None:
            raise ValueError("trainer.profiler=xla needs the package torch_xla, for TPUs")
        return self

    @model_validator(mode="after")
    def _several_ranks_share_the_work(self) -> Self:
        if self.strategy == "auto":
            many = self.ranks is not None and self.ranks // self.num_nodes > 1
            for key, wrong in (("devices", many), ("num_nodes", self.num_nodes > 1)):
                if wrong:
                    other = "ddp_cpu" if self.accelerator == "cpu" else "ddp"
                    raise ValueError(
                        f"trainer.{key}={getattr(self, key)}: trainer={self.name} is a single "
                        f"process; set trainer={other}"
                    )
        return self

    @model_validator(mode="after")
    def _steps_alone_are_those_of_ranks(self) -> Self:
        if self.sync_every == 1:
            return self
        what = f"trainer.sync_every={self.sync_every}"
        if self.strategy != "ddp" or self.ranks == 1:
            raise ValueError(
                f"{what} is for several ranks, but trainer={self.name} "
                + ("has one" if self.ranks == 1 else f"has strategy={self.strategy}")
                + "; set trainer=ddp_cpu or trainer=ddp"
            )
        if self.accumulate_grad_batches > 1:
            raise ValueError(
                f"{what}: ranks that step by themselves do not gather gradients; set "
                "trainer.accumulate_grad_batches=1"
            )
        if self.precision not in ("32-true", "64-true", "bf16-mixed", "bf16-true"):
            raise ValueError(
                f"{what}: with trainer.precision={self.precision} each rank would scale its loss "
                "in another way; set 32-true, 64-true or bf16-mixed"
            )
        return self

    @model_validator(mode="after")
    def _backend_and_precision_fit_the_device(self) -> Self:
        if self.accelerator == "cpu" and self.process_group_backend == "nccl":
            raise ValueError("trainer.process_group_backend=nccl is for GPUs; use gloo")
        if self.accelerator == "mps":
            raise ValueError(
                "trainer.accelerator=mps: Apple's GPUs have no float64, in which losses and "
                "metrics are summed; set trainer=cpu"
            )
        if self.accelerator == "cpu" and self.precision in ("16-mixed", "16-true"):
            raise ValueError(
                f"trainer.precision={self.precision} is for GPUs; use bf16-mixed or 32-true"
            )
        return self

    @model_validator(mode="after")
    def _arguments_fit_each_other(self) -> Self:
        if self.fast_dev_run and self.barebones:
            raise ValueError("trainer.fast_dev_run and trainer.barebones: remove one")
        if self.gradient_clip_algorithm is not None and self.gradient_clip_val is None:
            raise ValueError("trainer.gradient_clip_algorithm needs trainer.gradient_clip_val")
        if self.check_val_every_n_epoch is None and not isinstance(self.val_check_interval, int):
            raise ValueError(
                "trainer.check_val_every_n_epoch=null counts batches over all epochs; set "
                "trainer.val_check_interval to a number of batches"
            )
        return self


# The key of Hydra that names what is called to make an object.
TARGET = "_target_"
DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")

Target = dict[str, Any]


class EarlyStoppingConfig(Section):
    """When to give up before max_epochs."""

    # Epochs without improvement before stopping.
    patience: Annotated[int, Field(ge=1, le=MOST)] = 3
    # What counts as an improvement, in units of the monitored metric.
    min_delta: Annotated[float, Field(ge=0, le=1e9)] = 0.0


class ProjectorConfig(Section):
    """When embeddings are logged to TensorBoard's projector, with histograms and genre overlap."""

    # null: at the end of each cycle of the schedule; at the end of the run in any case.
    every_n_epochs: Annotated[int, Field(ge=1, le=MOST)] | None = None
    # Users as well as items.
    users: bool = True


class ReportConfig(Section):
    """The page that a run ends with."""

    # Layout of the map of items in it; `auto`: t-SNE where there is one; null: no map.
    map: Literal["auto", "tsne", "umap", "pca"] | None = "auto"


class CallbacksConfig(Section):
    """What follows the training."""

    # Metric that picks best.ckpt; null: val/rmse where the split has a validation part.
    monitor: str | None = None
    # null: train for max_epochs.
    early_stopping: EarlyStoppingConfig | None = None
    # Show progress while training.
    progress_bar: bool = True
    # null: embeddings are not logged.
    projector: ProjectorConfig | None = ProjectorConfig()
    # null: no report.html.
    report: ReportConfig | None = ReportConfig()
    # Callbacks of other packages, each by `_target_` and its arguments; a run does not keep them.
    further: Annotated[list[Target] | dict[str, Target | None], EMPTY_IF_NULL] = Field(
        default_factory=dict
    )
    # Of a saved run: the `_target_` of its further callbacks, as text that nothing is made from.
    further_classes: list[str] = Field(default_factory=list)

    @property
    def targets(self) -> dict[str, Target]:
        """The further callbacks by the key that each is typed under; those set to null are out."""
        named = self.further.items() if isinstance(self.further, dict) else enumerate(self.further)
        return {f"callbacks.further.{key}": each for key, each in named if each is not None}

    @model_validator(mode="after")
    def _each_names_its_class(self) -> Self:
        for key, target in self.targets.items():
            name = target.get(TARGET)
            if not isinstance(name, str) or not DOTTED.fullmatch(name):
                given = "" if name is None else f" (got {name!r})"
                raise ValueError(f"{key}.{TARGET}: set it to <package.module.Class>{given}")
        return self

    def as_kept(self) -> Self:
        """What a run directory keeps: of further callbacks their names alone."""
        names = [*self.further_classes, *(each[TARGET] for each in self.targets.values())]
        kept = {"further": {}, "further_classes": list(dict.fromkeys(names))}
        return self.model_copy(update=kept)


Name = Annotated[str, Field(min_length=1)]


class TensorBoardConfig(Section):
    """Event files in <run>/tensorboard, with projector, histograms and figures."""


class CSVConfig(Section):
    """A table of all curves, <run>/csv/metrics.csv, and <run>/csv/hparams.yaml."""


class WandbConfig(Section):
    """Weights & Biases, with its files in <run>/wandb."""

    # offline: nothing leaves this machine until `wandb sync`; online: as it is logged.
    mode: Literal["offline", "online", "disabled"] = "offline"
    # Of the run at Weights & Biases.
    project: Name = "lightning-collab"
    # User or team that it belongs to; null: the default of the account.
    entity: str | None = None
    # Name of the run; null: that of the run directory.
    name: str | None = None
    # Runs that are shown together; null: none.
    group: str | None = None
    # To find the run by.
    tags: list[str] = Field(default_factory=list)


class MLflowConfig(Section):
    """MLflow, by default in a database of the run's own, <run>/mlflow.db."""

    # Where runs are kept: sqlite:///<file> or a server; null: <run>/mlflow.db.
    tracking_uri: str | None = None
    # The experiment that the run belongs to.
    experiment: Name = "lightning-collab"
    # Name of the run; null: that of the run directory.
    name: str | None = None
    # To find the run by.
    tags: Annotated[dict[str, str], EMPTY_IF_NULL] = Field(default_factory=dict)


class LoggersConfig(Section):
    """The loggers of a run; those that are null are not used."""

    tensorboard: TensorBoardConfig | None = None
    csv: CSVConfig | None = None
    wandb: WandbConfig | None = None
    mlflow: MLflowConfig | None = None

    @property
    def names(self) -> list[str]:
        """Those that are used."""
        return [name for name, config in self if config is not None]

    @model_serializer(mode="wrap")
    def _of_those_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: values for name, values in handler(self).items() if values is not None}
