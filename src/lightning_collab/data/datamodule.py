"""The ratings of a run as Lightning wants them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from lightning_collab.config.data import DataSource, FeaturesConfig, ratings_in_batch
from lightning_collab.config.split import Split
from lightning_collab.data.batches import RatingBatch, RatingBatches
from lightning_collab.data.features.build import FeatureSet, SideRows, TrainingRows, build_features
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits import Rows, split_rows
from lightning_collab.data.vocabulary import UNKNOWN_ROW

SECONDS_A_DAY = 86_400
# Rows that are validated at a time: few enough for any memory, many enough to cost nothing.
EVALUATION_BATCH = 1 << 17


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

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The columns as tensors of the same memory."""
        return (
            torch.from_numpy(self.users),
            torch.from_numpy(self.items),
            torch.from_numpy(self.ratings),
            None if self.day is None else torch.from_numpy(self.day),
        )


class RatingDataModule(pl.LightningDataModule):
    """Train, validation and test batches of one table.

    Vocabularies are those of the training part: a user or item that it does not have gets the
    unknown row, in validation and test as later in use.

    Args:
        table: all ratings.
        data: the `data` section of the config.
        split: the `split` section of the config.
        seed: of the order of the training ratings.
        features: the `features` section of the config; None: ids alone.

    Attributes:
        features: blocks and effects, made of the training rows and the side tables alone.
        block_ends: set by an engine that takes several training batches at a time; see
            `RatingBatches`.
        position: set by a module that is resumed, for the next training loader: where it goes on.

    Raises:
        DataError: the split leaves a part without rows, or a feature cannot be had.
    """

    def __init__(
        self,
        table: RatingTable,
        data: DataSource,
        split: Split,
        seed: int,
        features: FeaturesConfig | None = None,
    ) -> None:
        super().__init__()
        self.table = table
        self.rows = split_rows(table, split)
        self._batch_size = data.batch_size
        self._seed = seed
        train = self.rows.train
        self.user_vocabulary, self._user_row = table.user_vocabulary.restricted_to(
            table.users[train]
        )
        self.item_vocabulary, self._item_row = table.item_vocabulary.restricted_to(
            table.items[train]
        )
        self.mean_rating = float(table.ratings[train].mean(dtype=np.float64))
        self.block_ends: Sequence[int] | None = None
        self.position: Mapping[str, int] | None = None
        self._wants_day = features is not None and bool(features.time)
        self.features = self._features(features) if features else FeatureSet()

    def train_dataloader(self) -> RatingBatches:
        """Batches in an order of their own each epoch."""
        overfit = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        return self.batches(self.rows.train, train=True, shuffle=not overfit)

    def val_dataloader(self) -> RatingBatches | list[RatingBatches]:
        """The validation part in the order of the split; no loader where there is none."""
        return self.batches(self.rows.val) if len(self.rows.val) else []

    def test_dataloader(self) -> RatingBatches | list[RatingBatches]:
        """The test part in the order of the split; no loader where there is none."""
        return self.batches(self.rows.test) if len(self.rows.test) else []

    @property
    def batches_per_epoch(self) -> int:
        """Training batches in an epoch."""
        ratings = len(self.rows.train)
        return -(-ratings // self.ratings_per_batch)

    @property
    def ratings_per_batch(self) -> int:
        """Ratings in a training batch over all ranks; the last of an epoch may have fewer."""
        return ratings_in_batch(self._batch_size, len(self.rows.train))

    def unknown_counts(self, rows: Rows) -> tuple[int, int]:
        """How many rows have a user, and how many an item, that the training part does not have.

        Args:
            rows: row numbers of the table.
        """
        unknown_users = np.count_nonzero(self._user_row[self.table.users[rows]] == UNKNOWN_ROW)
        unknown_items = np.count_nonzero(self._item_row[self.table.items[rows]] == UNKNOWN_ROW)
        return int(unknown_users), int(unknown_items)

    def columns(self, rows: Rows) -> RatingColumns:
        """Some rows of the table, with users and items as the training part numbers them.

        Args:
            rows: row numbers of the table.
        """
        users, items = self.table.users[rows], self.table.items[rows]
        # `take` with `out` needs no second copy of the column.
        np.take(self._user_row, users, out=users, mode="clip")
        np.take(self._item_row, items, out=items, mode="clip")
        day = None
        if self._wants_day and self.table.timestamps is not None:
            day = (self.table.timestamps[rows] // SECONDS_A_DAY).astype(np.int32)
        return RatingColumns(users, items, self.table.ratings[rows], day)

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

    def batches(self, rows: Rows, *, train: bool = False, shuffle: bool = False) -> RatingBatches:
        """Batches of some rows of the table, for this rank and on its device.

        Args:
            rows: row numbers of the table.
            train: True: training batches, in the engine's blocks.
            shuffle: True: in another order each epoch.
        """
        trainer = self.trainer
        position, self.position = (self.position, None) if train else (None, self.position)
        return RatingBatches(
            *self.columns(rows).tensors(),
            batch_size=self._batch_size if train else EVALUATION_BATCH,
            shuffle=shuffle,
            seed=self._seed,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            device=trainer.strategy.root_device if trainer else "cpu",
            block_ends=self.block_ends if train else None,
            position=position,
        )

    def whole_batches(self, rows: Rows) -> RatingBatches:
        """Batches of all of some rows in their order, on the CPU, whatever rank this is.

        For whoever looks at a model beside the trainer, during or after a run on any devices.

        Args:
            rows: row numbers of the table.
        """
        return RatingBatches(
            *self.columns(rows).tensors(),
            batch_size=EVALUATION_BATCH,
            shuffle=False,
            seed=self._seed,
        )

    def transfer_batch_to_device(
        self, batch: RatingBatch, device: torch.device, dataloader_idx: int
    ) -> RatingBatch:
        """The batch itself: `RatingBatches` keeps its tensors on the device."""
        return batch
