"""`conf/split`: which ratings train, validate and test."""

from datetime import date
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, SerializeAsAny, model_validator

from lightning_collab.config.contract import class_at
from lightning_collab.config.data import DataConfig
from lightning_collab.config.registry import SPLITS
from lightning_collab.config.section import MOST, Section, choose_by_name

Share = Annotated[float, Field(ge=0, lt=1)]


def _calendar_date(value: Any) -> Any:
    """YAML reads an unquoted date as one; on the command line it is text."""
    return date.fromisoformat(value) if isinstance(value, str) else value


CalendarDate = Annotated[date, BeforeValidator(_calendar_date)]
Fold = Literal["u1", "u2", "u3", "u4", "u5", "ua", "ub"]


# A ninth of the 90% that are not test is 10% of all.
NINTH = 0.1111111111


class SplitConfig(Section):
    """Keys that every split has.

    A split of your own is a subclass with a `name` of one value, a default for each key and a
    method `split`: see docs/extending.md.
    """

    chosen_from = SPLITS
    # Of a split of ours, the place of the function that makes it, as "module:function".
    split_function: ClassVar[str]
    # Whether the part of a row is known from the row alone, as ratings that stay on disk need it.
    by_row: ClassVar[bool] = False

    name: str
    # Share of the rows that are not test; 0: no validation part.
    val: Share = 0.0
    # Seed of the split, separate from the seed of initial weights and order.
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42

    def split(self, table: Any) -> Any:
        """Divide the rows of a table.

        Args:
            table: a `lightning_collab.data.rating_table.RatingTable` of n ratings.

        Returns:
            A `lightning_collab.data.splits.SplitRows`: `train`, `val` and `test`, numpy arrays of
            row numbers from 0 to n - 1 of any integer type, no row twice. `train` is not empty,
            `val` is empty where `has_val` is False and only there, `test` may be empty.

        Raises:
            DataError: a part that the config asks for would have no rows.

        Example:
            >>> def split(self, table):
            ...     order = np.random.RandomState(self.seed).permutation(len(table))
            ...     return SplitRows(train=order[100:], val=order[:50], test=order[50:100])
        """
        return class_at(self.split_function)(table, self)

    @property
    def has_val(self) -> bool:
        """Whether there is a part to validate on, known before any data is read."""
        return self.val > 0

    def check_source(self, data: DataConfig) -> None:
        """Refuse a source that this split cannot be made of, before any data is read.

        Raises:
            ValueError: the message names the keys.
        """

    def check_storage(self, data: DataConfig) -> None:
        """Refuse a split that looks at all ratings at once where these stay on disk.

        Raises:
            ValueError: the message names the keys.
        """
        if data.mapped and not self.by_row:
            raise ValueError(
                f"split={self.name} needs all ratings in memory; with data.storage=memory_map set "
                "split=random (by a hash of each row) or split=predefined, or set "
                "data.storage=memory"
            )


class RandomSplitConfig(SplitConfig):
    """Rows drawn at random."""

    by_row = True
    split_function: ClassVar[str] = "lightning_collab.data.splits.random:split_randomly"

    name: Literal["random"] = "random"
    # Share of all rows; 0: no test part.
    test: Share = 0.1
    # Share of the rows that are not test; 0: no validation part.
    val: Share = NINTH


class KFoldSplitConfig(SplitConfig):
    """One fold of a random k-fold: the folds' test parts are disjoint and together all rows."""

    split_function: ClassVar[str] = "lightning_collab.data.splits.random:split_by_fold"

    name: Literal["k_fold"] = "k_fold"
    # How many.
    folds: Annotated[int, Field(ge=2, le=MOST)] = 5
    # Which is the test part, counted from 1.
    fold: Annotated[int, Field(ge=1, le=MOST)] = 1
    # Share of the rows that are not test; 0: no validation part.
    val: Share = 0.1

    @model_validator(mode="after")
    def _fold_is_one_of_them(self) -> Self:
        if self.fold > self.folds:
            raise ValueError(f"split.fold={self.fold} is above split.folds={self.folds}")
        return self


class LectureSplitConfig(SplitConfig):
    """The lecture's: 20% of the rows, drawn with numpy's RandomState.

    They are the validation part, and there is no test part; with `val` above 0 they are the test
    part, and the validation part comes out of the rest.
    """

    split_function: ClassVar[str] = "lightning_collab.data.splits.random:split_as_in_the_lecture"

    name: Literal["lecture"] = "lecture"

    @property
    def has_val(self) -> bool:
        """Always: the lecture's 20% where no other rows are asked for."""
        return True


class OfficialFoldConfig(SplitConfig):
    """A test part that comes with the release; the validation part is drawn out of its base."""

    split_function: ClassVar[str] = "lightning_collab.data.splits.by_column:split_by_official_fold"

    name: Literal["official_fold"] = "official_fold"
    # Which: u1 to u5 are five disjoint fifths; ua and ub have ten ratings of each user.
    fold: Fold = "u1"
    # Fold whose test part validates, as far as it is in the base; null: `val` is drawn.
    val_fold: Fold | None = None
    # Share of the rows that are not test; 0: no validation part.
    val: Share = 0.1

    @property
    def has_val(self) -> bool:
        """Another fold, or a share."""
        return self.val_fold is not None or self.val > 0

    @model_validator(mode="after")
    def _one_validation_part(self) -> Self:
        _check_one_validation_part(self.val, "val_fold", self.val_fold)
        if self.val_fold == self.fold:
            raise ValueError("split.val_fold and split.fold are the same fold")
        return self

    def check_source(self, data: DataConfig) -> None:
        """Only sources that come with folds."""
        if self.fold not in data.official_folds:
            raise ValueError(
                f"split.fold={self.fold}: data={data.name} comes without official folds; those of "
                "GroupLens (u1 to u5, ua, ub) are part of MovieLens 100K (data=ml_100k)"
            )


class TemporalSplitConfig(SplitConfig):
    """The past trains, the future tests."""

    split_function: ClassVar[str] = "lightning_collab.data.splits.by_column:split_in_time"

    name: Literal["temporal"] = "temporal"
    # `date`: the same moment for everyone; `user`: each user's last ratings.
    by: Literal["date", "user"] = "date"
    # Share of all rows (of each user's rows) that come last; 0: no test part.
    test: Share = 0.1
    # Share of the rows that are not test; 0: no validation part.
    val: Share = NINTH
    # The test part begins on this day (UTC), instead of by a share; only with `by: date`.
    test_from: CalendarDate | None = None
    # The validation part begins on this day (UTC), instead of by a share; only with `by: date`.
    val_from: CalendarDate | None = None

    @property
    def has_val(self) -> bool:
        """By share or by date."""
        return self.val > 0 or self.val_from is not None

    @model_validator(mode="after")
    def _dates_make_sense(self) -> Self:
        for key in ("test_from", "val_from"):
            if getattr(self, key) is not None and self.by == "user":
                raise ValueError(
                    f"split.{key} is one date for all users, which split.by=user does not use"
                )
        if self.test_from and self.val_from and self.val_from >= self.test_from:
            raise ValueError("split.val_from must be before split.test_from")
        return self

    def check_source(self, data: DataConfig) -> None:
        """Only sources with timestamps."""
        _need_timestamps(data, "split=temporal")


class LeaveOneOutConfig(SplitConfig):
    """One rating of each user tests."""

    split_function: ClassVar[str] = "lightning_collab.data.splits.by_column:split_one_of_each_user"

    name: Literal["leave_one_out"] = "leave_one_out"
    # Which: the last in time, or any.
    pick: Literal["last", "random"] = "last"
    # `one`: one more of each user; else a share of the rows that are not test, drawn at random.
    val: Share | Literal["one"] = "one"  # type: ignore[assignment]

    @property
    def has_val(self) -> bool:
        """One of each user, or a share."""
        return self.val == "one" or self.val > 0

    def check_source(self, data: DataConfig) -> None:
        """Only sources with timestamps, where the last one is picked."""
        if self.pick == "last":
            _need_timestamps(data, "split=leave_one_out with split.pick=last")


class UserStratifiedConfig(SplitConfig):
    """The same share of each user's ratings, drawn at random."""

    split_function: ClassVar[str] = "lightning_collab.data.splits.random:split_within_users"

    name: Literal["user_stratified"] = "user_stratified"
    # Share of each user's rows; 0: no test part.
    test: Share = 0.1
    # Share of the rows that are not test; 0: no validation part.
    val: Share = NINTH


class UserRatioConfig(SplitConfig):
    """Shares of all of each user's ratings, drawn at random, with the rounding of RecBole."""

    split_function: ClassVar[str] = "lightning_collab.data.splits.by_column:split_by_user_ratio"

    name: Literal["user_ratio"] = "user_ratio"
    # Share of all of each user's rows; 0: no test part.
    test: Share = 0.1
    # Share of all of each user's rows, those of the test part too; 0: no validation part.
    val: Share = 0.1

    @model_validator(mode="after")
    def _some_train(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(
                f"split.val={self.val} and split.test={self.test} are shares of all rows of a "
                "user, and leave none to train on"
            )
        return self


class _ColdConfig(SplitConfig):
    """All ratings of some items, or of some users, test."""

    split_function: ClassVar[str] = "lightning_collab.data.splits.random:split_off_whole_sides"
    side: ClassVar[Literal["users", "items"]]

    # Share of the items (users), drawn at random, rounded; not with `folds`.
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    # Deal all of them into so many disjoint test parts; null: draw `share`.
    folds: Annotated[int, Field(ge=2, le=MOST)] | None = None
    # Which of these is the test part, counted from 1.
    fold: Annotated[int, Field(ge=1, le=MOST)] = 1
    # Share of the ratings of the others, drawn at random; 0: no validation part.
    val: Share = 0.1

    @model_validator(mode="after")
    def _fold_is_one_of_them(self) -> Self:
        if self.fold > (self.folds or 1):
            raise ValueError(f"split.fold={self.fold} is above split.folds={self.folds or 'null'}")
        return self


class ColdItemsConfig(_ColdConfig):
    """All ratings of some items test: none of them has a training rating."""

    side: ClassVar[Literal["users", "items"]] = "items"

    name: Literal["cold_items"] = "cold_items"


class ColdUsersConfig(_ColdConfig):
    """All ratings of some users test: none of them has a training rating."""

    side: ClassVar[Literal["users", "items"]] = "users"

    name: Literal["cold_users"] = "cold_users"


class PredefinedSplitConfig(SplitConfig):
    """The parts that the data itself names: by a column, or by a file for each part."""

    by_row = True
    split_function: ClassVar[str] = "lightning_collab.data.splits.by_column:split_as_given"

    name: Literal["predefined"] = "predefined"
    # Name of the validation part; null: there is none, and `val` is drawn out of the others.
    val_part: str | None = "val"
    # Name of the test part; null: there is none.
    test_part: str | None = "test"

    @property
    def has_val(self) -> bool:
        """A part of its own, or a share."""
        return self.val_part is not None or self.val > 0

    @model_validator(mode="after")
    def _one_validation_part(self) -> Self:
        _check_one_validation_part(self.val, "val_part", self.val_part)
        if self.val_part is not None and self.val_part == self.test_part:
            raise ValueError("split.val_part and split.test_part are the same part")
        return self

    def check_source(self, data: DataConfig) -> None:
        """Only sources that name parts."""
        if not data.names_parts:
            raise ValueError(
                f"split=predefined: data={data.name} does not say which rows belong to which "
                "part; with data=csv, name a column (data.columns.part) or files (data.test_path)"
            )


def _check_one_validation_part(val: float, key: str, named: str | None) -> None:
    if named is not None and val > 0:
        raise ValueError(
            f"split.val={val} and split.{key}={named} are two validation parts; set split.val=0 or "
            f"split.{key}=null"
        )


def _need_timestamps(data: DataConfig, what: str) -> None:
    if not data.has_timestamps:
        raise ValueError(
            f"{what} needs timestamps, which data={data.name} has not been told of; with data=csv "
            "set data.columns.timestamp, with data=synthetic set data.timestamps=true"
        )


# The config of one of the splits that `SPLITS` names.
Split = Annotated[SerializeAsAny[SplitConfig], PlainValidator(choose_by_name(SplitConfig))]
