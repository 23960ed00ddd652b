"""`conf/logger`: where curves, hyper-parameters and final numbers go."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from lightning_collab.config.section import EMPTY_IF_NULL, Section

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
