"""`conf/similar.yaml`, `conf/map_embeddings.yaml`, `conf/report.yaml`."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lightning_collab.config.section import Section


def _named(run: object) -> object:
    if run is None:
        raise ValueError("say which: run=<run directory>")
    return run


RunPath = Annotated[str, BeforeValidator(_named)]
RawId = int | str
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
MapMethod = Literal["tsne", "umap", "pca"]


class SimilarConfig(Section):
    """Which neighbours to show."""

    run: RunPath
    """The run directory."""
    checkpoint: str | None
    """`best`, `last` or the path of a file; null: best, or last where there is no best."""
    movie: RawId | None
    """A title."""
    movie_id: RawId | None
    """An item by its id."""
    user_id: RawId | None
    """A user by its id."""
    top_k: Positive
    """How many neighbours."""
    measure: Literal["cosine", "dot"]
    """Of similarity."""
    min_ratings: Count
    """Training ratings that a neighbour must have."""

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        given = [k for k in ("movie", "movie_id", "user_id") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                "say one of movie, movie_id, user_id"
                + (f", not {' and '.join(given)}" if given else "")
                + ", e.g. 'movie=\"Toy Story (1995)\"'"
            )
        return self


class MapConfig(Section):
    """How to draw the embeddings in the plane."""

    run: RunPath
    """The run directory."""
    checkpoint: str | None
    """`best`, `last` or the path of a file; null: best, or last where there is no best."""
    side: Literal["items", "users"]
    """Whose embeddings."""
    method: MapMethod
    """From many dimensions to two."""
    min_ratings: Count
    """Training ratings that a point must have."""
    max_points: Annotated[int, Field(ge=3)]
    """At most so many points, the most rated."""
    perplexity: Annotated[float, Field(gt=1)]
    """Of t-SNE: about how many neighbours count."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Of t-SNE and UMAP."""
    labels: Count
    """At most so many labels in the picture, of the most rated points."""
    extremes: Positive
    """Rows in the lists of best, worst and outermost."""
    output: str | None
    """Folder of the results; null: <run>/figures."""


class ReportConfig(Section):
    """Which runs to report on."""

    runs: list[str]
    """Run directories; one: its own report; several: side by side."""
    sweep: str | None
    """Directory of a study."""
    output: str | None
    """The file to write; null: <run>/report.html, comparison.html or the study's own."""
    map: MapMethod | None
    """Layout of the map in a run's own report; null: no map."""

    @model_validator(mode="after")
    def _runs_or_sweep(self) -> Self:
        if bool(self.runs) == (self.sweep is not None):
            raise ValueError("say either runs=[<run directory>,...] or sweep=<directory>")
        return self


class ScreenshotsConfig(Section):
    """Which run to photograph."""

    run: RunPath
    """The run directory."""
    output: str
    """Folder of the pictures."""
