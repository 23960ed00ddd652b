"""The ratings of a run as Lightning wants them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from os import PathLike, fspath
from typing import Annotated, Any, NamedTuple, Self, cast

import numpy as np
import polars
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pydantic import Field

from lightning_collab.config.columns import AUTO, ColumnsConfig
from lightning_collab.config.data import (
    BatchSize,
    CustomFileConfig,
    DataConfig,
    Duplicates,
    FeaturesConfig,
    FrameConfig,
    Order,
    Paths,
    plain_paths,
    ratings_in_batch,
)
from lightning_collab.config.model import Positives
from lightning_collab.config.section import Section, checked
from lightning_collab.config.split import RandomSplitConfig, Split
from lightning_collab.data.batches import EpochBatches, RatingBatch, RatingBatches
from lightning_collab.data.features.build import FeatureSet, SideRows, TrainingRows, build_features
from lightning_collab.data.feed import Feed, Ranked, training_batches
from lightning_collab.data.mapped_table import MappedTable
from lightning_collab.data.ranking_batches import Choices, RankingBatches
from lightning_collab.data.rating_table import AT_A_TIME, RatingTable
from lightning_collab.data.sources import Caller, checked_frame, load_ratings
from lightning_collab.data.splits import Rows, split_rows
from lightning_collab.data.vocabulary import UNKNOWN_ROW, Side, Vocabulary
from lightning_collab.errors import ConfigError, DataError

SECONDS_A_DAY = 86_400
# Rows that are validated at a time: few enough for any memory, many enough to cost nothing.
EVALUATION_BATCH = 1 << 17
# Rows of both tables that a core's own cache holds: 1 MiB of 64 single factors.
CACHED_ROWS = 4096


class RatingColumns(NamedTuple):
    """Ratings as a model is given them.

    Attributes:
        users: int32 [n], rows of the training vocabulary.
        items: int32 [n], rows of the training vocabulary.
        ratings: float32 [n], in rating units.
        day: int32 [n], days since 1970; None where no effect of time is configured.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    day: NDArray[np.int32] | None = None

    def taken(self, rows: slice | Rows) -> "RatingColumns":
        """Some of the rows."""
        day = None if self.day is None else self.day[rows]
        return RatingColumns(self.users[rows], self.items[rows], self.ratings[rows], day)

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The columns as tensors of the same memory."""
        return (
            torch.from_numpy(self.users),
            torch.from_numpy(self.items),
            torch.from_numpy(self.ratings),
            None if self.day is None else torch.from_numpy(self.day),
        )


class DataSettings(Section):
    """What is made of a table, whatever source it comes from."""

    # Ratings in one optimizer step over all ranks; `full`: all of them.
    batch_size: BatchSize = 512
    split: Split = RandomSplitConfig(name="random", test=0.1, val=0.1111111111, seed=42)
    # Of an epoch: all rows in random order; users in random order, each one's rows together; or
    # blocks of users x items; auto: blocks for single ratings on tables beyond the cache.
    order: Order = "random"
    # Of the order of the training ratings.
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    features: FeaturesConfig = FeaturesConfig()


def _rows_in(vocabulary: Vocabulary, whole: Vocabulary) -> NDArray[np.int32]:
    """For each row of a table's own vocabulary, the unknown one first, that of another one."""
    return np.concatenate([np.zeros(1, np.int32), vocabulary.encode(whole.ids)])


def _columns(*named: str | int | None) -> dict[str, str | int | None]:
    """The arguments that name columns, as keys of a config."""
    return dict(zip(ColumnsConfig.model_fields, named, strict=True))


def _fitting(split: Split | Mapping[str, Any] | None, source: DataConfig) -> Split | None:
    """A split that can be made of a source.

    Raises:
        ConfigError: it is none, or the source lacks what it needs.
    """
    if split is None:
        return None
    fitting = checked(DataSettings, {"split": split}).split
    try:
        fitting.check_source(source)
    except ValueError as error:
        raise ConfigError(
            f"{error}; in Python, pass the column's name as timestamp= or part="
        ) from None
    return fitting


class RatingDataModule(pl.LightningDataModule):
    """Train, validation and test batches of one table.

    Vocabularies are those of the training part: a user or item that it does not have gets the
    unknown row, in validation and test as later in use.

    Example:
        >>> data = lightning_collab.RatingDataModule.from_frame(frame, batch_size=64)
        >>> data
        RatingDataModule(the frame: 320 / 40 / 40 ratings to train / validate / test, ...)
        >>> model = lightning_collab.EmbeddingDotBias.for_data(data, factors=8)
        >>> module = lightning_collab.RatingModule(model)
        >>> pl.Trainer(max_epochs=3).fit(module, datamodule=data)

    Args:
        table: all ratings.
        batch_size: ratings in one optimizer step over all ranks; `full`: all of them.
        split: which rows train, validate and test: a config of a split, or its keys with `name`;
            None: 80% train, 10% validate and 10% test, drawn at random.
        seed: of the order of the training ratings.
        order: of an epoch: `random`; `by_user`, users in random order with their rows together;
            `blocked`, blocks of users x items; or `auto`, one of the first and the last.
        features: the `features` section of a config, or its keys; None: ids alone.
        source: the `data` section that the table was read by, where there is one.

    Attributes:
        settings: batch size, split, seed and features as they were checked.
        source: as given; of a frame, with its fingerprint.
        features: blocks and effects, made of the training rows and the side tables alone.
        block_ends: set by an engine that takes several training batches at a time; see
            `RatingBatches`.
        position: set by a module that is resumed, for the next training loader: where it goes on.
        feed: set by a module: what its loss is given of the training part.
        ranked: set by a module that ranks: what it is measured by; None: by ratings.

    Raises:
        ConfigError: a setting that is unknown, of a wrong type or out of range.
        DataError: the split leaves a part without rows, or a feature cannot be had.
    """

    def __init__(
        self,
        table: RatingTable,
        *,
        batch_size: BatchSize = 512,
        split: Split | Mapping[str, Any] | None = None,
        seed: int = 42,
        order: Order = "random",
        features: FeaturesConfig | Mapping[str, Any] | None = None,
        source: DataConfig | None = None,
    ) -> None:
        super().__init__()
        self.table = table
        self.source = source
        self.settings = checked(
            DataSettings,
            {
                "batch_size": batch_size,
                "seed": seed,
                "order": order,
                **({} if split is None else {"split": split}),
                **({} if features is None else {"features": features}),
            },
        )
        self.mapped = table if isinstance(table, MappedTable) else None
        self._batch_size = self.settings.batch_size
        self._seed = seed
        if self.mapped is None:
            self.rows = split_rows(table, self.settings.split)
            train = self.rows.train
            self.user_vocabulary, self._user_row = table.user_vocabulary.restricted_to(
                table.users[train]
            )
            self.item_vocabulary, self._item_row = table.item_vocabulary.restricted_to(
                table.items[train]
            )
            self.mean_rating = float(table.ratings[train].mean(dtype=np.float64))
        else:
            self.rows = self.mapped.rows
            self.user_vocabulary = self.mapped.training_users
            self.item_vocabulary = self.mapped.training_items
            self.mean_rating = float(table.ratings.mean(dtype=np.float64))
            self._check_mapped()
        self.block_ends: Sequence[int] | None = None
        self.position: Mapping[str, int] | None = None
        self.feed = Feed()
        self.ranked: Ranked | None = None
        self._chosen: dict[Positives, Choices] = {}
        self._learned: tuple[Feed, Choices] | None = None
        wanted = self.settings.features
        self._wants_day = bool(wanted.time)
        self.features = self._features(wanted) if wanted else FeatureSet()

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of all ratings and of which of them are of which part, in hexadecimal.

        Unlike `data.fingerprint.fingerprint` it takes the columns as they are in memory, which is
        fast, and leaves out times and what is said of users and items beside their ratings.
        """
        if self.mapped is not None:
            return self.mapped.sum
        total = hashlib.sha256()
        table = self.table
        columns = [table.users, table.items, table.ratings, table.weights]
        for column in (*columns, self.rows.train, self.rows.val, self.rows.test):
            total.update(b"none" if column is None else np.ascontiguousarray(column).data)
            total.update(b"\0")
        for vocabulary in (table.user_vocabulary, table.item_vocabulary):
            ids = vocabulary.ids
            whole = ids.dtype == polars.Int64
            total.update(ids.to_numpy().data if whole else "\0".join(ids).encode())
        return total.hexdigest()

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        user: str = AUTO,
        item: str = AUTO,
        rating: str | None = AUTO,
        timestamp: str | None = AUTO,
        part: str | None = AUTO,
        weight: str | None = AUTO,
        rating_range: tuple[float, float] | None = None,
        missing: Sequence[float] = (),
        duplicates: Duplicates = "error",
        min_rating: float | None = None,
        k_core: int | None = None,
        users: Any = None,
        items: Any = None,
        batch_size: BatchSize = 512,
        split: Split | Mapping[str, Any] | None = None,
        seed: int = 42,
        features: FeaturesConfig | Mapping[str, Any] | None = None,
    ) -> Self:
        """The ratings of a frame, with every check that files get.

        Example:
            >>> sales = frame.rename({"user": "customer", "item": "sku", "rating": "stars"})
            >>> data = lightning_collab.RatingDataModule.from_frame(
            ...     sales,
            ...     user="customer",
            ...     item="sku",
            ...     rating="stars",
            ...     timestamp="time",
            ...     split={"name": "temporal", "by": "date", "test": 0.1, "val": 0.1},
            ... )

        Args:
            frame: polars DataFrame or LazyFrame, pandas DataFrame or pyarrow Table; a row a rating.
            user: column of ids: integers or text; `auto`: found by its usual names (user, userId,
                customer), as each column is that is not named.
            item: likewise (item, movieId, product, sku).
            rating: column of finite numbers; None: data without ratings, in which each row is one
                choice, such as a click or a purchase.
            timestamp: column of seconds since 1970, dates or datetimes (UTC where they name no time
                zone); `auto`: where there is one; None: there is none.
            part: column that says `train`, `val` or `test`, for the split `predefined`; likewise.
            weight: column of numbers above 0, how much a row counts, such as plays; likewise.
            rating_range: lowest and highest rating that the scale allows; None: those found.
            missing: numbers in the rating column that mean "no rating"; such rows
                are left out.
            duplicates: several ratings of one item by one user: `error`, `last` (in time, else in
                the frame) or `mean`. Of data without ratings they are one.
            min_rating: rows rated less are left out before anything else; None: none.
            k_core: users and items with fewer rows are left out until all have so many; None: none.
            users: frame with a row for each user: the id under the same name as in `frame`, and any
                other columns.
            items: likewise for items; `title`, `year` and `genres` are understood.
            batch_size: as of the class.
            split: as of the class.
            seed: as of the class.
            features: as of the class.

        Raises:
            ConfigError: a setting that is unknown, of a wrong type or out of range.
            DataError: it is no frame; a column is missing, or of a wrong type; a value is wrong,
                with its row, counted from 0; or the split or the features need what is not there.
        """
        config = checked(
            FrameConfig,
            {
                "columns": _columns(user, item, rating, timestamp, part, weight),
                "rating_range": rating_range,
                "missing": [float(each) for each in missing],
                "duplicates": duplicates,
                "min_rating": min_rating,
                "k_core": k_core,
                "batch_size": batch_size,
            },
        )
        table, known = checked_frame(frame, config, users=users, items=items)
        return cls(
            table,
            batch_size=batch_size,
            split=_fitting(split, known),
            seed=seed,
            features=features,
            source=known,
        )

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        *,
        user: str | int = AUTO,
        item: str | int = AUTO,
        rating: str | int | None = AUTO,
        timestamp: str | int | None = AUTO,
        part: str | int | None = AUTO,
        weight: str | int | None = AUTO,
        rating_range: tuple[float, float] | None = None,
        duplicates: Duplicates = "error",
        users: Paths | None = None,
        items: Paths | None = None,
        batch_size: BatchSize = 512,
        split: Split | Mapping[str, Any] | None = None,
        seed: int = 42,
        features: FeaturesConfig | Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Self:
        """The ratings of a file: delimited text, JSON lines or Parquet.

        Example:
            >>> frame.write_csv("ratings.csv", separator=";")
            >>> data = lightning_collab.RatingDataModule.from_file("ratings.csv", delimiter=";")

        Args:
            path: of the file, of a folder of its parts, or a pattern such as `part-*.csv`.
            user: column, by its name or by its place counted from 1; so are the next five.
            item: see `from_frame`.
            rating: see `from_frame`.
            timestamp: see `from_frame`.
            part: see `from_frame`.
            weight: see `from_frame`.
            rating_range: see `from_frame`.
            duplicates: see `from_frame`.
            users: path of a file about users.
            items: path of a file about items.
            batch_size: as of the class.
            split: as of the class.
            seed: as of the class.
            features: as of the class.
            settings: further keys of `data=csv`: delimiter, header, encoding, quote, decimal,
                format, missing, ids, timestamp_unit, timestamp_format, val_path, test_path,
                min_rating, k_core, cache.

        Raises:
            ConfigError: a setting that is unknown, of a wrong type or out of range.
            DataError: as of `from_frame`; the message names file and line.
        """
        config = checked(
            CustomFileConfig,
            {
                "path": fspath(path),
                "columns": _columns(user, item, rating, timestamp, part, weight),
                "rating_range": rating_range,
                "duplicates": duplicates,
                "users_path": plain_paths(users),
                "items_path": plain_paths(items),
                "batch_size": batch_size,
                **settings,
            },
        )
        return cls(
            load_ratings(config, Caller.PYTHON, _fitting(split, config)),
            batch_size=batch_size,
            split=_fitting(split, config),
            seed=seed,
            features=features,
            source=config,
        )

    def __repr__(self) -> str:
        """What it is of, and how much of it."""
        rows = self.rows
        parts = " / ".join(f"{len(each):,}" for each in (rows.train, rows.val, rows.test))
        users, items = len(self.user_vocabulary) - 1, len(self.item_vocabulary) - 1
        return (
            f"{type(self).__name__}({self.table.name}: {parts} {self.table.rows_called} to train / "
            f"validate / test, {users:,} users, {items:,} items)"
        )

    # Lightning's own looks into the loaders as if they were torch's.
    __str__ = __repr__

    def train_dataloader(self) -> EpochBatches[Any]:
        """Batches in an order of their own each epoch."""
        trainer: Any = self.trainer
        position, self.position = self.position, None
        return training_batches(
            self,
            self.feed,
            batch_size=self._batch_size,
            shuffle=trainer is None or not trainer.overfit_batches > 0,
            block_ends=self.block_ends,
            position=position,
            **self._of_rank(),
        )

    def _of_rank(self) -> dict[str, Any]:
        """What loaders know of this process."""
        trainer = self.trainer
        return {
            "seed": self._seed,
            "rank": trainer.global_rank if trainer else 0,
            "world_size": trainer.world_size if trainer else 1,
            "device": trainer.strategy.root_device if trainer else "cpu",
        }

    def val_dataloader(self) -> RatingBatches | RankingBatches | list[RatingBatches]:
        """The validation part in the order of the split, or its users where a module ranks.

        Returns:
            No loader where there is no such part.
        """
        return self._held_out("val")

    def test_dataloader(self) -> RatingBatches | RankingBatches | list[RatingBatches]:
        """The same of the test part."""
        return self._held_out("test")

    def _held_out(self, part: str) -> RatingBatches | RankingBatches | list[RatingBatches]:
        rows: Rows = getattr(self.rows, part)
        if not len(rows):
            return []
        ranked = self.ranked
        if ranked is None:
            return self.batches(rows)
        most = ranked.most_users if part == "val" else None
        return self.ranking_batches(part, ranked.liked, most_users=most, seed=ranked.seed)

    @property
    def batches_per_epoch(self) -> int:
        """Training batches in an epoch."""
        return -(-self.rows_per_epoch // self.rows_per_batch)

    @property
    def order(self) -> Order:
        """Of the training rows in an epoch; never `auto`."""
        order = self.settings.order
        if order != "auto":
            return order
        if self.mapped is not None:
            return "random"
        rows = len(self.user_vocabulary) + len(self.item_vocabulary)
        single = self.feed.of == "ratings" and self.rows_per_batch == 1
        return "blocked" if single and rows > CACHED_ROWS else "random"

    @property
    def rows_per_epoch(self) -> int:
        """What an epoch goes through, once each: ratings, chosen pairs, or users who chose."""
        if self.feed.of == "ratings":
            return len(self.rows.train)
        learned = self.learned
        return len(learned) if self.feed.of == "pairs" else int((learned.user_counts > 0).sum())

    @property
    def learned(self) -> Choices:
        """The chosen pairs that training batches are made of, as `feed` says."""
        if self._learned is None or self._learned[0] != self.feed:
            self._learned = self.feed, self.feed.chosen(self)
        return self._learned[1]

    @property
    def samples_per_batch(self) -> int:
        """Of users, how many items are drawn for the catalog; 0: it is looked at itself."""
        return self.feed.samples_for(self.learned, self._batch_size)

    @property
    def terms_per_row(self) -> float:
        """What one of these costs, in ratings: a user as many as there are choices and scores."""
        if self.feed.of == "ratings":
            return 1.0
        if self.feed.of == "pairs":
            return 1.0 + self.feed.negatives
        return 1.0 + (self.learned.item_rows - 1) / 8

    @property
    def rows_per_batch(self) -> int:
        """Of these, in a training batch over all ranks; the last of an epoch may have fewer."""
        return ratings_in_batch(self._batch_size, self.rows_per_epoch)

    def chosen(self, rows: Rows, positives: Positives) -> Choices:
        """The pairs of some rows that count as chosen, but those of an unknown user or item.

        Args:
            rows: row numbers of the table.
            positives: lowest rating of an item that was chosen; `all`: any.

        Raises:
            DataError: no rating is so high.
        """
        of_train = rows is self.rows.train
        if of_train and positives in self._chosen:
            return self._chosen[positives]
        ratings = self.table.ratings[rows]
        if positives != "all":
            rows = rows[ratings >= positives]
            if not len(rows):
                raise DataError(
                    f"{self.table.name}: no rating is {positives:g} or more, the highest is "
                    f"{ratings.max(initial=0):g}; lower the threshold of what was chosen"
                )
        columns = self.columns(rows)
        known = (columns.users != UNKNOWN_ROW) & (columns.items != UNKNOWN_ROW)
        weights = getattr(self.table, "weights", None)
        chosen = Choices.of(
            columns.users[known],
            columns.items[known],
            user_rows=len(self.user_vocabulary),
            item_rows=len(self.item_vocabulary),
            weights=None if weights is None else weights[rows][known],
        )
        if of_train:
            self._chosen[positives] = chosen
        return chosen

    def ranking_batches(
        self,
        part: str,
        liked: Positives,
        *,
        most_users: int | None = None,
        seed: int = 0,
        whole: bool = False,
    ) -> RankingBatches:
        """The users of a held-out part, with what is left out of their rankings and what was liked.

        Args:
            part: `val`: what a user rated in the training part is left out; `test`: what the user
                rated in the validation part as well.
            liked: lowest rating of a held-out item that was liked; `all`: any.
            most_users: at most so many users, drawn at random; None: all.
            seed: of the draw.
            whole: all of them on the CPU, whatever rank this is.

        Raises:
            DataError: nobody who has training ratings liked anything in this part.
        """
        rows: Rows = getattr(self.rows, part)
        found = rows if liked == "all" else rows[self.table.ratings[rows] >= liked]
        held_out = self._pairs(found)
        if not (np.flatnonzero(held_out.user_counts) != UNKNOWN_ROW).any():
            what = "pair" if liked == "all" else f"rating of {liked:g} or more"
            raise DataError(
                f"ranking: the {part} part has no {what} by a user with training ratings; set a "
                "lower metrics.liked (of evaluate: liked), or another split"
            )
        of_rank = self._of_rank()
        where = {key: of_rank[key] for key in ("rank", "world_size", "device")}
        before = [self.rows.train] if part == "val" else [self.rows.train, self.rows.val]
        return RankingBatches(
            [self._pairs(each) for each in before],
            held_out,
            most_users=most_users,
            seed=seed,
            **({} if whole else where),
        )

    def _pairs(self, rows: Rows) -> Choices:
        """Pairs of some rows, unknown users and items among them as row 0."""
        columns = self.columns(rows)
        return Choices.of(
            columns.users,
            columns.items,
            user_rows=len(self.user_vocabulary),
            item_rows=len(self.item_vocabulary),
        )

    def vocabulary(self, side: Side) -> Vocabulary:
        """The ids of the model's rows, of users or of items."""
        return self.user_vocabulary if side == "users" else self.item_vocabulary

    def described(self, side: Side) -> polars.DataFrame | None:
        """What the source says of users or items, a line each; None: nothing."""
        return self.table.user_features if side == "users" else self.table.item_features

    def training_counts(self) -> dict[Side, NDArray[np.int64]]:
        """Training ratings of each row of the training vocabularies, the unknown one first."""
        train = self.columns(self.rows.train)
        return {
            "users": self.summed(train.users, self.user_vocabulary.warm + 1),
            "items": self.summed(train.items, self.item_vocabulary.warm + 1),
        }

    def summed(
        self, rows: NDArray[np.int32], length: int, values: NDArray[np.floating[Any]] | None = None
    ) -> NDArray[Any]:
        """`np.bincount` of a column, of one on disk with little memory beside it.

        Args:
            rows: int [n], of users or items.
            length: of the result.
            values: float [n], which are added up; None: they are counted.
        """
        step = len(rows) if self.mapped is None else AT_A_TIME
        cuts = [slice(start, start + step) for start in range(0, max(1, len(rows)), max(1, step))]
        parts = (
            np.bincount(rows[cut], None if values is None else values[cut], minlength=length)
            for cut in cuts
        )
        total = next(parts)
        for part in parts:
            total += part
        return total

    @contextmanager
    def numbered_by(self, vocabularies: Mapping[Side, Vocabulary]) -> Iterator[None]:
        """Meanwhile rows of users and items are those of other vocabularies.

        Args:
            vocabularies: with the training ids in the same rows, and further ones behind them.
        """
        if self.mapped is not None:
            yield  # rows on disk are those of the training part, and of nothing else
            return
        before = self.user_vocabulary, self.item_vocabulary, self._user_row, self._item_row
        try:
            self.user_vocabulary, self.item_vocabulary = (
                vocabularies["users"],
                vocabularies["items"],
            )
            self._user_row = _rows_in(self.user_vocabulary, self.table.user_vocabulary)
            self._item_row = _rows_in(self.item_vocabulary, self.table.item_vocabulary)
            yield
        finally:
            self.user_vocabulary, self.item_vocabulary, self._user_row, self._item_row = before

    def unknown_counts(self, rows: Rows) -> tuple[int, int]:
        """How many rows have a user, and how many an item, that the training part does not have.

        Args:
            rows: row numbers of the table.
        """
        if self.mapped is not None:
            found = self.columns(rows)
            users, items = (np.count_nonzero(each) for each in (found.users, found.items))
            return len(rows) - int(users), len(rows) - int(items)
        unknown_users = np.count_nonzero(self._user_row[self.table.users[rows]] == UNKNOWN_ROW)
        unknown_items = np.count_nonzero(self._item_row[self.table.items[rows]] == UNKNOWN_ROW)
        return int(unknown_users), int(unknown_items)

    def columns(self, rows: Rows) -> RatingColumns:
        """Some rows of the table, with users and items as the training part numbers them.

        Args:
            rows: row numbers of the table.
        """
        if self.mapped is not None:
            return RatingColumns(*self.mapped.columns[cast(Any, rows).part])
        users, items = self.table.users[rows], self.table.items[rows]
        # `take` with `out` needs no second copy of the column.
        np.take(self._user_row, users, out=users, mode="clip")
        np.take(self._item_row, items, out=items, mode="clip")
        day = None
        if self._wants_day and self.table.timestamps is not None:
            day = (self.table.timestamps[rows] // SECONDS_A_DAY).astype(np.int32)
        return RatingColumns(users, items, self.table.ratings[rows], day)

    def _check_mapped(self) -> None:
        """Refuse what needs all ratings in memory, where no config of a run has."""
        settings = self.settings
        for key, asked in (
            ("features", settings.features),
            ("batch_size=full", settings.batch_size == "full"),
            (f"order={settings.order}", settings.order != "random"),
        ):
            if asked:
                raise ConfigError(
                    f"{key} needs all ratings in memory, and storage=memory_map keeps them on disk"
                )

    def _features(self, config: FeaturesConfig) -> FeatureSet:
        """Blocks and effects of the training part."""
        train = self.columns(self.rows.train)
        return build_features(
            config,
            TrainingRows(
                SideRows(train.users, self.user_vocabulary, self.table.user_features),
                SideRows(train.items, self.item_vocabulary, self.table.item_features),
                train.day,
            ),
        )

    def batches(self, rows: Rows) -> RatingBatches:
        """Ratings of some rows of the table in their order, for this rank and on its device.

        Args:
            rows: row numbers of the table.
        """
        return RatingBatches(
            *self.columns(rows).tensors(),
            batch_size=EVALUATION_BATCH,
            shuffle=False,
            **self._of_rank(),
        )

    def whole_batches(self, rows: Rows) -> RatingBatches:
        """Batches of all of some rows in their order, on the CPU, whatever rank this is.

        For whoever looks at a model beside the trainer, during or after a run on any devices. Of
        a long column on disk it is some of its rows, spread over all.

        Args:
            rows: row numbers of the table.
        """
        columns = self.columns(rows)
        if self.mapped is not None and len(rows) > AT_A_TIME:
            some = np.linspace(0, len(rows) - 1, AT_A_TIME).astype(np.int64)
            columns = columns.taken(some)
        return RatingBatches(
            *columns.tensors(), batch_size=EVALUATION_BATCH, shuffle=False, seed=self._seed
        )

    def transfer_batch_to_device(
        self, batch: RatingBatch, device: torch.device, dataloader_idx: int
    ) -> RatingBatch:
        """The batch itself: `RatingBatches` keeps its tensors on the device."""
        return batch
