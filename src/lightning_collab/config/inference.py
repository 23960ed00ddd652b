"""`conf/predict.yaml`, `conf/recommend.yaml`, `conf/export.yaml`."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from lightning_collab.config.inspection import Positive, RawId, RunPath
from lightning_collab.config.section import Section


def _input_named(value: object) -> object:
    if value is None:
        raise ValueError("say which: input=<CSV or Parquet file with a user and an item a row>")
    return value


def _output_named(value: object) -> object:
    if value is None:
        raise ValueError("say where to: output=<file>.parquet or <file>.csv")
    return value


class PairColumnsConfig(Section):
    """Which columns of the pairs are what."""

    user: str | None
    """null: `user`, `user_id`, `userId`, or the name that the run's own data has."""
    item: str | None
    """null: `item`, `movie`, `item_id`, `movieId` or so, or the name in the run's own data."""
    timestamp: str | None
    """Seconds since 1970; null: `timestamp`, where the model asks for it."""


class PredictConfig(Section):
    """Which pairs to predict."""

    run: RunPath
    """The run directory."""
    checkpoint: str | None
    """`best`, `last` or the path of a file; null: best, or last where there is no best."""
    input: Annotated[str, BeforeValidator(_input_named)]
    """The pairs."""
    output: Annotated[str, BeforeValidator(_output_named)]
    """The predictions."""
    columns: PairColumnsConfig
    delimiter: Annotated[str, Field(min_length=1, max_length=1)]
    """One character between two values of text."""
    overwrite: bool
    """Replace the output where it is there."""
    threads: Positive | None
    """null: all cores."""


class RecommendConfig(Section):
    """Whom to recommend to."""

    run: RunPath
    """The run directory."""
    checkpoint: str | None
    """`best`, `last` or the path of a file; null: best, or last where there is no best."""
    user: RawId | None
    """A user by its id; `all`: every user."""
    ratings: dict[RawId, float | int] | str | None
    """Of a new person."""
    top_k: int
    """How many."""
    seen: Literal["all", "train", "none"]
    """Which rated items to leave out."""
    output: str | None
    """A file for the recommendations."""
    overwrite: bool
    """Replace the output where it is there."""
    threads: Positive | None
    """null: all cores."""

    @field_validator("top_k")
    @classmethod
    def _some(cls, value: int) -> int:
        if value < 1:
            raise ValueError("at least 1 is needed")
        return value

    @model_validator(mode="after")
    def _one_person(self) -> Self:
        if (self.user is None) == (self.ratings is None):
            raise ValueError(
                "say one of user and ratings: user=<id>, user=all output=<file>, "
                "ratings={1:5,50:4} (item id:rating) or ratings=<file>.csv"
            )
        if self.user == "all" and self.output is None:
            raise ValueError("user=all needs output=<file>.parquet or <file>.csv")
        return self


class ExportConfig(Section):
    """Which run to export, and how."""

    run: RunPath
    """The run directory."""
    checkpoint: str | None
    """`best`, `last` or the path of a file; null: best, or last where there is no best."""
    format: Literal["onnx", "safetensors"]
    """Of the model."""
    output: str | None
    """Folder of the export; null: <run>/export_<format>."""
    overwrite: bool
    """Replace files of an earlier export."""

    @field_validator("format", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("say which: format=onnx or format=safetensors")
        return value
