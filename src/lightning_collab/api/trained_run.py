"""A trained run, and all that it is used for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lightning_collab.api.asked_run import AskedRun
from lightning_collab.config.commands import MapChoice
from lightning_collab.config.model import Positives
from lightning_collab.errors import ConfigError, shape_of
from lightning_collab.inference.new_items import TITLE, add_items, items_of_frame

if TYPE_CHECKING:
    # Lightning, which predictions and recommendations do without.
    from pytorch_lightning import Callback

    from lightning_collab.data.datamodule import RatingDataModule


@dataclass(frozen=True, eq=False, repr=False)
class TrainedRun(AskedRun):
    """A trained model, the ids of its rows, and what is known of them.

    `train` gives one, and `load` does of any run directory, whichever way it was made.

    Example:
        >>> run = lightning_collab.train(frame, factors=8, overrides={"trainer.max_epochs": 3})
        >>> run.recommend(user=100, top_k=5)["item"].len()
        5
        >>> run.metrics["test/rmse"] == run.evaluate()["test/rmse"]
        True

    Attributes:
        directory: of the run.
        checkpoint: the file that the weights came from.
        config: of the run, as plain values; not checked, so that a run of an earlier version can be
            used as long as its model is known.
        model: on the CPU, in evaluation mode.
        user_vocabulary: raw user ids of the model's rows.
        item_vocabulary: raw item ids of the model's rows.
        rating_range: lowest and highest rating.
        users: one row for each known user, `users[k]` for row `k + 1` of the model: `user`, the
            features of the source, `ratings` and `mean_rating` of the training part.
        items: the same for items: `item`, features, `ratings` and `mean_rating`.
        unseen_users: users without training ratings, which the model does not know.
        unseen_items: items without training ratings, which the model does not know.
        data: the ratings, where `train` or `resume` has just read them; None: not read.
    """

    data: "RatingDataModule | None" = None

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    def add_items(self, items: Any) -> Self:
        """Make items known that the run was not trained on, by their features alone.

        Their rows are those of the map that was fitted after the training; the run directory keeps
        them. They are recommended where `new_items` asks for them.

        Args:
            items: polars DataFrame or LazyFrame, pandas DataFrame or pyarrow Table with a row for
                each: the raw id under a usual name, and features as in the run's own table.

        Returns:
            The run with them.

        Raises:
            DataError: an item is there already or comes twice, or none of the features is there.
            CheckpointError: the run has no map, since its data said nothing of items.
        """
        add_items(self, items_of_frame(items, self), TITLE)
        return replace(self.load(self.directory.path, str(self.checkpoint)), data=self.data)

    def evaluate(
        self,
        data: Any = None,
        *,
        users: Any = None,
        items: Any = None,
        ranking: bool = False,
        top_k: int | Sequence[int] | None = None,
        liked: Positives | None = None,
    ) -> dict[str, float]:
        """The numbers of the checkpoint again, and how well its best items are what people liked.

        Args:
            data: the frame that the run was trained on, which is known by its content; the path of
                its file, where that has been moved; or a `RatingDataModule` of either. None: what
                `train` has just read, or what the run's config names.
            users: frame of users, where the run was trained with one.
            items: frame of items, likewise.
            ranking: also rankings of the whole catalog: `val/ndcg@10`, recall, precision, mrr,
                hit_rate, map, coverage, mean_popularity and gini, those of the test part, and those
                of the baselines, `baseline/most_popular/ndcg@10` and so on. What a user rated in
                the training part is left out, at the test part that of the validation part too.
            top_k: for `ranking`, number of first items that are looked at, or several, ascending;
                None: as in the run.
            liked: for `ranking`, lowest rating of a held-out item that was liked; `all`: any; None:
                as in the run, which is 4 where its loss is of ratings.

        Returns:
            Those of metrics.json that are measured on the parts that there are: `val/rmse`,
            `val/mae`, `val/loss`, `test/rmse`, `test/mae`, of warm and cold rows, and further ones
            of the run.

        Raises:
            DataError: the ratings are not to be had, or are not those of the run.
            CheckpointError: they have other users or items in the training part.
            ConfigError: `top_k` or `liked` is out of range.

        Example:
            >>> lightning_collab.load(run.path).evaluate(frame) == run.evaluate()
            True
        """
        from lightning_collab.api import again

        ratings = again.Ratings(self.data if data is None else data, users, items)
        return again.evaluate(self, ratings, ranking=ranking, top_k=top_k, liked=liked)

    def report(
        self,
        data: Any = None,
        *,
        map: MapChoice | None = "auto",  # noqa: A002 (as the command has it)
        output: str | Path | None = None,
        users: Any = None,
        items: Any = None,
    ) -> Path:
        """Write the page that shows the run: numbers, curves, errors, and a map of the items.

        Args:
            data: as of `evaluate`.
            map: layout of the map: `tsne`, `umap` or `pca`; `auto`: t-SNE where it is installed,
                else PCA; None: no map.
            output: the file; None: report.html in the run directory.
            users: as of `evaluate`.
            items: as of `evaluate`.

        Returns:
            The file.

        Raises:
            DataError: as of `evaluate`.
            InspectionError: the ratings are not those of the run, or the file cannot be written.

        Example:
            >>> run.report(map="pca").name
            'report.html'
        """
        from lightning_collab.api import again

        ratings = again.Ratings(self.data if data is None else data, users, items)
        return again.report(self, ratings, map, None if output is None else Path(output))

    def resume(
        self,
        data: Any = None,
        *,
        users: Any = None,
        items: Any = None,
        overrides: Mapping[str, Any] | None = None,
        callbacks: "Sequence[Callback]" = (),
    ) -> Self:
        """Go on with a run that was stopped, or that is to be trained for longer.

        It goes on from the run's last checkpoint, with the run's own config and what is given here.

        Args:
            data: as of `evaluate`.
            users: as of `evaluate`.
            items: as of `evaluate`.
            overrides: config key -> value, such as `{"trainer.max_epochs": 30}`.
            callbacks: of Lightning, beside those of the run.

        Returns:
            The run as it then is.

        Raises:
            ConfigError: a key or value that makes no sense.
            DataError: as of `evaluate`.
            CheckpointError: the run has been trained for as long already, or another process is
                writing there.
            TrainingError: as of `train`.

        Example:
            >>> run.resume(overrides={"trainer.max_epochs": 4}).metrics["epochs"]
            4
        """
        from lightning_collab.api import again

        ratings = again.Ratings(self.data if data is None else data, users, items)
        read = again.resume(self, ratings, overrides or {}, callbacks)
        return replace(self.load(self.path), data=read)


def load(run: str | Path, checkpoint: str | None = None) -> TrainedRun:
    """Load a trained run; neither the ratings nor the repository are needed.

    Args:
        run: the run directory.
        checkpoint: `best`, `last` or the path of a file; None: best.ckpt, or last.ckpt where the
            run has no best.

    Raises:
        CheckpointError: not a run directory, no checkpoint in it, or one of another model.
        ConfigError: the run's model is of another version, or `run` is no path.

    Example:
        >>> run = lightning_collab.load(run.path)
        >>> run.items.sort("ratings").tail(3).columns
        ['item', 'ratings', 'mean_rating']
    """
    if not isinstance(run, str | Path):
        raise ConfigError(f"run: must be the path of a run directory (got {shape_of(run)})")
    return TrainedRun.load(run, checkpoint)
