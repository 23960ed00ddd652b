"""A trained run to look at: in short, its curves, its map, and files of it for elsewhere."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from lightning_collab.config.commands import MapChoice
from lightning_collab.data.vocabulary import Side
from lightning_collab.inference.lookup import one_of, whole
from lightning_collab.metrics import RANKING_BASELINES, RATING_BASELINES
from lightning_collab.runs.text import filled_in
from lightning_collab.training.trained_model import TrainedModel

if TYPE_CHECKING:
    # matplotlib, which predictions and recommendations do without.
    from matplotlib.figure import Figure

    from lightning_collab.inspection.embedding_map import EmbeddingMap

# What a run says of itself in one line: key of metrics.json -> name.
IN_SHORT = {
    "val/rmse": "val RMSE",
    "test/rmse": "test RMSE",
    "baseline/bias_rmse": "user and item biases",
    "val/ndcg@10": "val NDCG@10",
    "test/ndcg@10": "test NDCG@10",
    "baseline/most_popular/ndcg@10": "most popular",
}
# Letters of a name on the card, which may be anybody's.
LONGEST = 60
FORMATS = ("onnx", "safetensors")
SIDES = ("items", "users")
LAYOUTS = ("auto", "tsne", "umap", "pca")
FIGURES = ("curves", "map")


@dataclass(frozen=True, eq=False, repr=False)
class ShownRun(TrainedModel):
    """A trained model to look at; each `TrainedRun` is one."""

    def __repr__(self) -> str:
        """Model, place, and errors beside that of the biases alone."""
        path = self.directory.path.absolute()
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        metrics = self.metrics
        numbers = [f"{name} {metrics[key]:.4f}" for key, name in IN_SHORT.items() if key in metrics]
        return f"TrainedRun({', '.join([self.model_name, repr(str(shown)), *numbers])})"

    def _repr_html_(self) -> str:
        """The card that a notebook shows."""
        written = self.directory.metrics_file
        ended = datetime.fromtimestamp(written.stat().st_mtime) if written.is_file() else None
        head, rows = self._numbers()
        loss, data = (str((self.config.get(key) or {}).get("name")) for key in ("loss", "data"))
        return filled_in(
            "lightning_collab.api",
            "run_card.html.j2",
            model=self.model_name[:LONGEST],
            loss=None if loss == "None" else loss[:LONGEST],
            data=data[:LONGEST],
            ended=None if ended is None else f"{ended:%Y-%m-%d %H:%M}",
            name=self.directory.path.resolve().name[-LONGEST:],
            head=head,
            rows=rows,
            ranks=self.ranks,
            users=f"{len(self.users):,}",
            items=f"{len(self.items):,}",
            trained=f"{self.items['ratings'].sum():,} {self.rows_called}",
        )

    def _numbers(self) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
        """Columns, and rows of a name and numbers: the model, and baselines as far as measured."""
        metrics = self.metrics
        names, baselines, between = ["rmse"], RATING_BASELINES, "_"
        if self.ranks:
            first = next((key.partition("@")[2] for key in metrics if "/ndcg@" in key), "")
            names, baselines, between = [f"ndcg@{first}", f"recall@{first}"], RANKING_BASELINES, "/"
        columns = [(p, n) for p in ("val", "test") for n in names if f"{p}/{n}" in metrics]
        if not columns:
            return [], []
        measured = columns[-1][0]
        rows: list[tuple[str, list[float | None]]] = [
            (self.model_name[:LONGEST], [metrics[f"{part}/{name}"] for part, name in columns])
        ]
        for baseline, label in baselines.items():
            prefix = f"baseline/{baseline}{between}"
            found = [metrics.get(prefix + n) if p == measured else None for p, n in columns]
            if any(each is not None for each in found):
                rows.append((label, found))
        heads = [f"{part} {name.upper().replace('RECALL', 'recall')}" for part, name in columns]
        return heads, rows

    def curves(self) -> pl.DataFrame:
        """What was logged while the run was trained.

        Returns:
            A row for each number: `name` (such as `train/loss`, `val/rmse` or `lr-...`), `step`
            (Int64, optimizer step, from 0) and `value` (Float64), sorted by name and step. Empty
            where the run keeps no curves: those of `logger=tensorboard` and `csv` are in it.

        Example:
            >>> run.curves().filter(name="val/rmse").columns
            ['name', 'step', 'value']
        """
        from lightning_collab.inspection.figures import read_curves_of

        schema = {"name": pl.String(), "step": pl.Int64(), "value": pl.Float64()}
        curves = sorted(read_curves_of(self.directory).items())
        parts = [
            pl.DataFrame({"step": curve.steps, "value": curve.values}).select(
                name=pl.lit(name), step="step", value="value"
            )
            for name, curve in curves
        ]
        return pl.concat([pl.DataFrame(schema=schema), *parts])

    def map(
        self,
        side: Side = "items",
        *,
        method: MapChoice = "auto",
        min_ratings: int = 20,
        max_points: int = 1500,
    ) -> pl.DataFrame:
        """The embeddings in the plane, near one another where they are alike.

        Args:
            side: `items` or `users`.
            method: `tsne`, `umap` or `pca`; `auto`: t-SNE where it is installed, else PCA.
            min_ratings: training ratings that a point must have.
            max_points: at most so many, the most rated.

        Returns:
            A row for each: what is known of it, `bias` (Float32, in rating units) where the model
            has one, and `x` and `y` (Float64).

        Raises:
            ConfigError: an argument is none of these.
            InspectionError: the model has no such embeddings, too few points are left, or the
                layout's package is not installed.

        Example:
            >>> run.map(method="pca", min_ratings=5).select("x", "y").dtypes
            [Float64, Float64]
        """
        drawn = self._map(side, method, min_ratings, max_points)
        x, y = np.ascontiguousarray(drawn.positions.T)
        return drawn.points.with_columns(x=pl.Series(x), y=pl.Series(y))

    def figure(
        self,
        show: Literal["curves", "map"] = "curves",
        *,
        side: Side = "items",
        method: MapChoice = "auto",
        min_ratings: int = 20,
        max_points: int = 1500,
        labels: int = 40,
    ) -> "Figure":
        """A picture of the curves or of the map, which a notebook shows as it is.

        Args:
            show: `curves`: losses, and errors or rankings, after each epoch; `map`: the embeddings
                in the plane.
            side: of a map, as for `map`; so are the next three.
            method: see there.
            min_ratings: see there.
            max_points: see there.
            labels: of a map, how many names at most; one that would cover another is left out.

        Returns:
            A figure of matplotlib, to change or to save by `savefig`.

        Raises:
            ConfigError: an argument is none of these.
            InspectionError: the run keeps no curves; or as of `map`.

        Example:
            >>> run.figure("map", method="pca", min_ratings=5).savefig("map.png")
        """
        one_of("show", show, FIGURES)
        if show == "curves":
            from lightning_collab.inspection.figures import run_curves_figure

            return run_curves_figure(self.directory)
        from lightning_collab.inspection.embedding_map import map_picture

        drawn = self._map(side, method, min_ratings, max_points)
        return map_picture(drawn, labels=labels, size=(9.0, 6.0))

    def _map(
        self, side: Side, method: MapChoice, min_ratings: int, max_points: int
    ) -> "EmbeddingMap":
        from lightning_collab.inspection.embedding_map import embedding_map
        from lightning_collab.inspection.layout import chosen_method

        one_of("side", side, SIDES)
        one_of("method", method, LAYOUTS)
        return embedding_map(
            self,
            side,
            chosen_method(method),
            min_ratings=whole("min_ratings", min_ratings, least=0),
            max_points=whole("max_points", max_points, least=3),
            seed=self.config["seed"],
        )

    def export(
        self,
        format: Literal["onnx", "safetensors"],  # noqa: A002 (as the command has it)
        output: str | Path | None = None,
        *,
        overwrite: bool = False,
    ) -> Path:
        """Write the model for use elsewhere: its tables or a graph, its ids, and a model card.

        Args:
            format: `onnx`: a graph from rows to ratings; `safetensors`: the tables. Both need
                `pip install 'lightning-collab[export]'`.
            output: the folder; None: `export_<format>` in the run directory.
            overwrite: whether files of an earlier export may be replaced.

        Returns:
            The folder, with `model.onnx` or `model.safetensors`, `vocabularies.json` and
            `README.md`, which has code that loads the model.

        Raises:
            ConfigError: there is no such format, or there are such files already.
            LightningCollabError: a package is missing, or the format cannot hold the model.
            StorageError: the files cannot be written.

        Example:
            >>> sorted(path.name for path in run.export("safetensors").iterdir())
            ['README.md', 'model.safetensors', 'vocabularies.json']
        """
        from lightning_collab.inference.export_run import export_run

        one_of("format", format, FORMATS)
        folder = self.directory.path / f"export_{format}" if output is None else Path(output)
        export_run(self, format, folder, overwrite=overwrite)
        return folder
