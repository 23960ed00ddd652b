"""Configs of the commands that use a trained run, from `conf/evaluate.yaml` on."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from lightning_collab.config.data import AbsolutePath, AbsolutePaths, Delimiter
from lightning_collab.config.model import Positives, TopK, as_list
from lightning_collab.config.run import RunConfig
from lightning_collab.config.section import MOST, Section, invalid, needed

RunPath = Annotated[str, needed("set run=<run directory>")]
RawId = int | str
Count = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
MapMethod = Literal["tsne", "umap", "pca"]
MapChoice = Literal["auto", MapMethod]


class OfARunConfig(Section):
    """Keys that each command has that uses a trained run."""

    # The run directory.
    run: RunPath
    # `best`, `last` or the path of a file; null: best, or last where there is no best.
    checkpoint: str | None


class SimilarConfig(OfARunConfig):
    """Which neighbors to show."""

    # An item by its id, else by its title.
    item: RawId | None
    # A film by its title.
    movie: RawId | None
    # As item, an id only.
    movie_id: RawId | None
    # A user by its id.
    user_id: RawId | None
    # How many neighbors.
    top_k: Positive
    # Of similarity.
    measure: Literal["cosine", "dot"]
    # Training ratings that a neighbor must have.
    min_ratings: Count

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        keys = ("item", "movie", "movie_id", "user_id")
        given = [key for key in keys if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                "give one of item, movie, movie_id, user_id"
                + (f", not {' and '.join(given)}" if given else "")
                + ", e.g. item=7 or 'item=\"Toy Story (1995)\"'"
            )
        return self


class MapConfig(OfARunConfig):
    """How to draw the embeddings in the plane."""

    # Whose embeddings.
    side: Literal["items", "users"]
    # From many dimensions to two; `auto`: t-SNE where openTSNE is installed, else PCA.
    method: MapChoice
    # Training ratings that a point must have, unless it is known by its features alone.
    min_ratings: Count
    # At most so many points, the most rated.
    max_points: Annotated[int, Field(ge=3, le=MOST)]
    # Of t-SNE: about how many neighbors count.
    perplexity: Annotated[float, Field(gt=1, le=10_000)]
    # Of t-SNE and UMAP.
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    # At most so many labels in the picture, of the most rated points.
    labels: Count
    # Rows in the lists of best, worst and outermost.
    extremes: Positive
    # Folder of the results; null: <run>/figures.
    output: str | None


class ReportConfig(Section):
    """Which runs to report on."""

    # Run directories; one: its own report; several: side by side.
    runs: list[str]
    # Directory of a study.
    sweep: str | None
    # The file to write; null: <run>/report.html, comparison.html or the study's own.
    output: str | None
    # Layout of the map in a run's own report; null: no map.
    map: MapChoice | None

    @model_validator(mode="after")
    def _runs_or_sweep(self) -> Self:
        if bool(self.runs) == (self.sweep is not None):
            raise ValueError("set either runs=[<run directory>,...] or sweep=<directory>")
        return self


class RankingConfig(Section):
    """How to measure rankings, where a run's own way is not meant."""

    # Numbers of first items that rankings are measured at, or one; null: those of the run.
    top_k: Annotated[TopK | None, BeforeValidator(as_list)]
    # The lowest rating of a held-out item that was liked; `all`: any; null: as in the run.
    liked: Positives | None


class MovedDataConfig(Section):
    """Where the ratings of a run are now; null: where they were."""

    # File of the ratings.
    path: AbsolutePath | None
    # File of the validation part.
    val_path: AbsolutePath | None
    # File of the test part.
    test_path: AbsolutePath | None
    # File about users, or a list of files.
    users_path: AbsolutePaths | None
    # File about items, or a list of files.
    items_path: AbsolutePaths | None
    # Folder of a release of MovieLens.
    root: str | None

    def moved(self, config: RunConfig) -> RunConfig:
        """The config of a run with its ratings where they are now.

        Args:
            config: of the run.

        Raises:
            ConfigError: its source has no such place.
        """
        given = {key: value for key, value in self if value is not None}
        for key in given:
            if key not in type(config.data).model_fields:
                raise invalid(f"data.{key}: the run's data={config.data.name} has no such key")
        return config.model_copy(update={"data": config.data.model_copy(update=given)})


class EvaluateConfig(RankingConfig):
    """What to measure of a trained run, or of several as one."""

    # The run directory.
    run: str | None
    # Run directories whose scores are added up, in place of one run.
    runs: list[str]
    # `best`, `last` or the path of a file; null: best, or last where there is no best.
    checkpoint: str | None
    # Also the mean of the predictions of the cycles.
    ensemble: bool
    # Also rankings of the whole catalog, beside the baselines.
    ranking: bool
    # Of ratings that have moved.
    data: MovedDataConfig

    @model_validator(mode="after")
    def _one_run_or_several(self) -> Self:
        if self.runs and self.run is not None:
            raise ValueError("set either run=<run directory> or runs=[<a run>,<another>]")
        if not self.runs and self.run is None:
            raise ValueError("run: set run=<run directory>, or runs=[<a run>,<another>]")
        if len(self.runs) == 1:
            raise ValueError(
                f"runs: one run cannot be blended; set run={self.runs[0]}, or name another too"
            )
        if len(set(self.runs)) < len(self.runs):
            raise ValueError("runs: a run is listed twice")
        if self.runs and self.ensemble:
            raise ValueError("ensemble=true averages the cycles of one run; set ensemble=false")
        return self


class PairColumnsConfig(Section):
    """Which columns of the pairs are what."""

    # null: by a usual name (`user`, `userId`, `customer`), or the one that the run's own data has.
    user: str | None
    # null: by a usual name (`item`, `movieId`, `product`, `sku`), or the one in the run's own data.
    item: str | None
    # Seconds since 1970; null: by a usual name (`timestamp`, `time`), where the model asks for it.
    timestamp: str | None


class PredictConfig(OfARunConfig):
    """Which pairs to predict."""

    # The pairs.
    input: Annotated[str, needed("set input=<CSV or Parquet file with a user and an item per row>")]
    # The predictions.
    output: Annotated[str, needed("set output=<file>.parquet or <file>.csv")]
    columns: PairColumnsConfig
    # One character between two values of text, or its name, such as tab; auto: found.
    delimiter: Delimiter
    # Replace the output if it exists.
    overwrite: bool
    # null: all cores.
    threads: Positive | None


class RecommendConfig(OfARunConfig):
    """Whom to recommend to."""

    # A user by its id, or a list of users; `all`: every user.
    user: RawId | list[RawId] | None
    # Of a fold-in user.
    ratings: dict[RawId, float | int] | str | None
    # What a fold-in user chose, of a run that learned to rank.
    items: list[RawId] | None
    # How many.
    top_k: int
    # Which rated items to leave out.
    seen: Literal["all", "train", "none"]
    # Items that may be recommended; null: all.
    only: str | None
    # Items that may not be recommended; null: none.
    exclude: str | None
    # Training ratings that a recommended item must have, unless it is new.
    min_ratings: Count
    # How many may be items without training ratings, known by their features; `only`: all.
    new_items: Count | Literal["only"]
    # A file for the recommendations.
    output: str | None
    # Replace the output if it exists.
    overwrite: bool
    # null: all cores.
    threads: Positive | None

    @field_validator("top_k")
    @classmethod
    def _some(cls, value: int) -> int:
        if value < 1:
            raise ValueError("must be at least 1")
        return value

    @model_validator(mode="after")
    def _one_recipient(self) -> Self:
        given = [each for each in (self.user, self.ratings, self.items) if each is not None]
        if len(given) != 1:
            raise ValueError(
                "give one of user, ratings and items: user=<id>, user=all output=<file>, "
                "ratings={1:5,50:4} (item id:rating), ratings=<file>.csv or items=[1,50]"
            )
        if self.user == "all" and self.output is None:
            raise ValueError("user=all needs output=<file>.parquet or <file>.csv")
        return self


class AddItemsConfig(OfARunConfig):
    """Which items to make known to a run."""

    # The items and their features.
    items: Annotated[str, needed("set items=<CSV or Parquet file with a line for each item>")]
    # One character between two values of text, or its name, such as tab; auto: found.
    delimiter: Delimiter


class ExportConfig(OfARunConfig):
    """Which run to export, and how."""

    # Of the model.
    format: Annotated[
        Literal["onnx", "safetensors"], needed("set format=onnx or format=safetensors")
    ]
    # Folder of the export; null: <run>/export_<format>.
    output: str | None
    # Replace files of an earlier export.
    overwrite: bool


class DemoConfig(OfARunConfig):
    """Which run to show on a page of this machine, and where."""

    # Of localhost, where the page is.
    port: Annotated[int, Field(ge=1, le=65535)]
    # Show the page in the browser at once.
    open_browser: bool
