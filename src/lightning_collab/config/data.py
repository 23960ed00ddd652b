"""`conf/data` and `conf/features`: where ratings come from, and what else a model is told."""

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    SerializeAsAny,
    StringConstraints,
    model_validator,
)

from lightning_collab.config.columns import AUTO, OPTIONAL, ColumnsConfig, FrameColumnsConfig
from lightning_collab.config.registry import SOURCES
from lightning_collab.config.section import MOST, Section, choose_by_name, needed

BatchSize = Annotated[int, Field(ge=1, le=MOST)] | Literal["full"]
# What an epoch goes through its rows in; see `data.orders`.
Order = Literal["random", "by_user", "blocked", "auto"]
Storage = Literal["memory", "memory_map"]


def ratings_in_batch(size: BatchSize, ratings: int) -> int:
    """How many ratings one optimizer step takes of so many."""
    return max(1, ratings) if size == "full" else size


def _absolute(path: str) -> str:
    """A run that is looked at again later, from another folder, still finds its data."""
    return str(Path(path).expanduser().absolute())


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
Paths = str | PathLike[str] | Sequence[str | PathLike[str]]


def plain_paths(given: Paths | None) -> str | list[str] | None:
    """One path, or several, as a config holds them."""
    if given is None or isinstance(given, str | PathLike):
        return None if given is None else fspath(given)
    return [fspath(each) for each in given]


AbsolutePaths = AbsolutePath | Annotated[list[AbsolutePath], Field(min_length=1)]


class DataConfig(Section):
    """Keys that every source of ratings has.

    A source of your own is a subclass with a `name` of one value, a default for each key and a
    method `load`: see docs/extending.md.
    """

    chosen_from = SOURCES
    # Test parts that come with the source.
    official_folds: ClassVar[tuple[str, ...]] = ()

    name: str
    # Ratings in one optimizer step over all ranks; `full`: all of them.
    batch_size: BatchSize = 512
    # Of an epoch: all ratings in random order; users in random order, each one's together; or
    # blocks of users x items; auto: blocks for single ratings on tables beyond the cache.
    order: Order = "random"
    # Keep the parsed table, so that the next start need not parse again.
    cache: bool = True
    # Rows rated less are left out before anything else; null: none.
    min_rating: Annotated[float, Field(ge=-1e30, le=1e30)] | None = None
    # Users and items with fewer rows are left out until all have so many; null: none.
    k_core: Annotated[int, Field(ge=1, le=MOST)] | None = None
    # Where the ratings are while a run trains: in memory, or in columns on disk that are mapped.
    storage: Storage = "memory"
    # Of memory_map: ratings that are held in memory at a time, and come in random order.
    shuffle_window: Annotated[int, Field(ge=1, le=MOST)] = 1 << 22

    @property
    def mapped(self) -> bool:
        """Whether the ratings stay on disk."""
        return self.storage == "memory_map"

    @model_validator(mode="after")
    def _storage_fits(self) -> Self:
        """What needs all ratings in memory is no part of `storage=memory_map`."""
        if not self.mapped:
            return self
        instead = "data.storage=memory"
        if isinstance(self, FrameConfig):
            raise ValueError(f"data.storage=memory_map: a frame is in memory; set {instead}")
        if type(self).load is not DataConfig.load:
            raise ValueError(
                f"data.storage=memory_map: data={self.name} loads whole tables; set {instead}"
            )
        if not self.has_ratings:
            raise ValueError(
                "data.storage=memory_map needs ratings, but data.columns.rating=null means that "
                f"there are none; name their column, or set {instead}"
            )
        for key, plain in (
            ("k_core", None),
            ("order", "random"),
            ("duplicates", "error"),
            ("columns.weight", None),
        ):
            given: Any = self
            for part in key.split("."):
                given = getattr(given, part, plain)
            if given not in (plain, AUTO):
                raise ValueError(
                    f"data.{key}={given} needs all ratings in memory; set "
                    f"data.{key}={'null' if plain is None else plain}, or {instead}"
                )
        if self.batch_size == "full":
            raise ValueError(
                "data.batch_size=full is all ratings at once, which data.storage=memory_map keeps "
                f"on disk; set a number, or {instead}"
            )
        return self

    @model_validator(mode="after")
    def _only_ratings_have_a_scale(self) -> Self:
        for key, none in (("rating_range", None), ("min_rating", None), ("missing", ())):
            if not self.has_ratings and getattr(self, key, none) != none:
                raise ValueError(
                    f"data.{key} is about ratings, but data.columns.rating=null means that there "
                    f"are none; set data.{key}={'null' if none is None else '[]'}, or name the "
                    "column of the ratings"
                )
        return self

    @property
    def has_ratings(self) -> bool:
        """Whether each row has a rating, known before any data is read; else it is one choice."""
        return True

    @property
    def has_timestamps(self) -> bool:
        """Whether each rating has a time, or may have one, known before any data is read."""
        return True

    @property
    def names_parts(self) -> bool:
        """Whether the source says itself, or may say, which rows train, validate and test."""
        return False

    def load(self) -> Any:
        """The ratings; of a source of your own. Ours are read by `lightning_collab.data.sources`.

        Returns:
            A `lightning_collab.data.rating_table.RatingTable`, each pair of user and item in it at
            most once. It is not kept in the cache of parsed tables.

        Raises:
            DataError: they cannot be found or read; the message says what to do.

        Example:
            >>> def load(self):
            ...     frame = pl.DataFrame({"user": [1, 2], "item": [7, 7], "rating": [4.0, 5.0]})
            ...     return RatingTable.of_checked(frame, name="two", rating_range=(1.0, 5.0))
        """
        raise NotImplementedError(f"{type(self).__name__}.load")


class MovieLensConfig(DataConfig):
    """A release of MovieLens."""

    # Folder of the raw files; null: $LIGHTNING_COLLAB_DATA, else the user's cache folder.
    root: str | None = None


class MovieLens100KConfig(MovieLensConfig):
    """MovieLens 100K (1998)."""

    official_folds = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")

    name: Literal["ml_100k"] = "ml_100k"


class MovieLensLatestSmallConfig(MovieLensConfig):
    """MovieLens latest-small, about 100,000 ratings; GroupLens has changed it over the years."""

    name: Literal["ml_latest_small"] = "ml_latest_small"
    # Year: 2018 is the one at GroupLens today, 2016 the one of the fastai course.
    edition: Literal[2018, 2016] = 2018


class MovieLens1MConfig(MovieLensConfig):
    """MovieLens 1M (2003)."""

    name: Literal["ml_1m"] = "ml_1m"
    # Ratings in one optimizer step over all ranks; `full`: all of them.
    batch_size: BatchSize = 2048


class MovieLensLargeConfig(MovieLensConfig):
    """The largest releases of MovieLens: 10 to 32 million ratings."""

    name: Literal["ml_10m", "ml_20m", "ml_25m", "ml_32m"]
    # Ratings in one optimizer step over all ranks; `full`: all of them.
    batch_size: BatchSize = 16384


def _as_tuple(value: Any) -> Any:
    """YAML has lists, which strict validation does not take for a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] >= ends[1]:
        raise ValueError("must be [lowest, highest]")
    return ends


# Numbers that mean that there is no rating.
Marks = Annotated[
    tuple[Annotated[float, Field(ge=-1e30, le=1e30)], ...], BeforeValidator(_as_tuple)
]
RatingRange = Annotated[tuple[float, float], BeforeValidator(_as_tuple), AfterValidator(_ascending)]
Duplicates = Literal["error", "last", "mean"]


# Names of characters that a shell or YAML makes something else of.
DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


def _one_character(given: Any) -> Any:
    character = DELIMITERS.get(given, given)
    if character == AUTO or not isinstance(character, str):
        return character
    if len(character) != 1 or not character.isascii() or character in '"\r\n':
        names = ", ".join(name for name in DELIMITERS if name.isalpha())
        raise ValueError(f"must be auto, one character or one of {names}")
    return character


Delimiter = Annotated[str, BeforeValidator(_one_character)]


class CustomFileConfig(DataConfig):
    """Your own file: delimited text, JSON lines or Parquet."""

    name: Literal["csv"] = "csv"
    # File of the ratings, a folder of its parts, or a pattern such as part-*.csv: delimited text or
    # JSON lines (also compressed by gzip or zstd), or Parquet.
    path: Annotated[AbsolutePath, needed("set data.path=<file of the ratings>")]
    # File of the validation part (for split=predefined); null: there is none.
    val_path: AbsolutePath | None = None
    # File of the test part (for split=predefined); null: there is none.
    test_path: AbsolutePath | None = None
    # File about users, or a list of files, with a column named as columns.user.
    users_path: AbsolutePaths | None = None
    # File about items, or a list of files, with a column named as columns.item.
    items_path: AbsolutePaths | None = None
    # null: by the file's content.
    format: Literal["csv", "jsonl", "parquet"] | None = None
    # One character between two values, or tab, comma, semicolon, pipe, space; auto: found.
    delimiter: Delimiter = AUTO
    # Whether the first line names the columns; auto: found.
    header: bool | Literal["auto"] = "auto"
    # Of the text; auto: found.
    encoding: Literal["auto", "utf8", "utf16", "cp1252", "latin-1"] = "auto"
    # What encloses a value that contains the delimiter; null: quotes are text like any other;
    # auto: \" unless the file shows that they are text.
    quote: Literal["auto", '"', "'"] | None = "auto"
    # Sign before the decimals of a number; auto: found.
    decimal: Literal["auto", "point", "comma"] = "auto"
    columns: ColumnsConfig = ColumnsConfig()
    # Numbers in the rating column that mean "no rating"; such rows are left out.
    missing: Marks = ()
    # What ids are; auto: integers where all are, written as integers are (007 is not).
    ids: Literal["auto", "integer", "string"] = "auto"
    # Lowest and highest rating that the scale allows; null: those found.
    rating_range: RatingRange | None = None
    # Of timestamps that are numbers since 1970.
    timestamp_unit: Literal["s", "ms", "us"] = "s"
    # Of timestamps in text, such as %m/%d/%Y, as `strftime` has it; null: ISO 8601 (UTC where no
    # zone is named).
    timestamp_format: Annotated[str, Field(min_length=1)] | None = None
    # Several ratings of one item by one user; last: in time, else in the file. Without ratings:
    # always one.
    duplicates: Duplicates = "error"

    @model_validator(mode="after")
    def _keys_fit_each_other(self) -> Self:
        parts = self.columns.part not in (None, AUTO)
        if parts and (self.val_path or self.test_path):
            raise ValueError("data.columns.part and data.test_path both name the parts; remove one")
        # Without names an optional column is none, and another has to be said.
        named = [
            key
            for key, column in self.columns
            if isinstance(column, str) and not (column == AUTO and key in OPTIONAL)
        ]
        if self.header is False and named:
            raise ValueError(
                f"data.columns.{named[0]} must be a position counted from 1, since with "
                "data.header=false the columns have no names"
            )
        if self.decimal == "comma" and self.delimiter == ",":
            raise ValueError(
                "data.decimal=comma and data.delimiter=comma cannot be told apart; set "
                "another delimiter"
            )
        return self

    @property
    def has_ratings(self) -> bool:
        """Unless it is said that there is no such column."""
        return self.columns.rating is not None

    @property
    def has_timestamps(self) -> bool:
        """Where a column is named, or may be found."""
        return self._may_have("timestamp")

    @property
    def names_parts(self) -> bool:
        """By a column, named or to be found, or by files."""
        return bool(self._may_have("part") or self.val_path or self.test_path)

    def side_paths(self, side: Literal["users", "items"]) -> list[str]:
        """The files about users, or about items.

        Args:
            side: which.
        """
        named = self.users_path if side == "users" else self.items_path
        if named is None:
            return []
        return [named] if isinstance(named, str) else named

    def _may_have(self, key: str) -> bool:
        column = getattr(self.columns, key)
        return column is not None and (self.header is not False or column != AUTO)


class FrameConfig(DataConfig):
    """A frame of polars, pandas or Arrow that was passed in Python; a config cannot hold it."""

    name: Literal["frame"] = "frame"
    columns: FrameColumnsConfig = FrameColumnsConfig()
    # SHA-256 of all that was read of the frames, row by row; null: not read yet.
    fingerprint: str | None = None
    # How many the frame of the ratings has; null: not read yet.
    rows: int | None = None
    # Whether a frame about users came with it.
    users: bool = False
    # Whether a frame about items came with it.
    items: bool = False
    # Numbers in the rating column that mean "no rating"; such rows are left out.
    missing: Marks = ()
    # Lowest and highest rating that the scale allows; null: those found.
    rating_range: RatingRange | None = None
    # Several ratings of one item by one user; last: in time, else in the frame. Without ratings:
    # always one.
    duplicates: Duplicates = "error"
    # There is no file to parse again.
    cache: bool = False

    @property
    def has_ratings(self) -> bool:
        """Unless it is said that there is no such column."""
        return self.columns.rating is not None

    @property
    def has_timestamps(self) -> bool:
        """Where a column is named, or may be found."""
        return self.columns.timestamp is not None

    @property
    def names_parts(self) -> bool:
        """By a column, named or to be found."""
        return self.columns.part is not None


class SyntheticConfig(DataConfig):
    """Ratings drawn from known factors, for tests and for measuring scale."""

    name: Literal["synthetic"] = "synthetic"
    # How many.
    ratings: Annotated[int, Field(ge=1, le=MOST)] = 100000
    # How many; null: as many as a release of MovieLens of this size would have.
    users: Annotated[int, Field(ge=2, le=MOST)] | None = None
    # How many; null: as many as a release of MovieLens of this size would have.
    items: Annotated[int, Field(ge=2, le=MOST)] | None = None
    # Length of the true factors; 0: biases alone.
    factors: Annotated[int, Field(ge=0, le=10_000)] = 8
    # Standard deviation of the dot product of true factors, in rating units.
    factor_scale: Annotated[float, Field(ge=0, le=1e6)] = 0.5
    # Standard deviation of the true biases of users and of items, in rating units.
    bias_scale: Annotated[float, Field(ge=0, le=1e6)] = 0.35
    # Standard deviation of what no model can know, in rating units.
    noise: Annotated[float, Field(ge=0, le=1e6)] = 0.75
    # Ratings are rounded to whole multiples of it; 0: not rounded.
    step: Annotated[float, Field(ge=0, le=1e6)] = 0.5
    # Zipf exponent of the items' popularity; 0: all alike.
    popularity: Annotated[float, Field(ge=0, le=2)] = 0.8
    # Whether each rating has a time; 8 bytes more a rating.
    timestamps: bool = False
    # Of the ratings.
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    # Ratings in one optimizer step over all ranks; `full`: all of them.
    batch_size: BatchSize = 2048
    # Drawing them again is about as fast as reading them.
    cache: bool = False

    @property
    def has_timestamps(self) -> bool:
        """If asked for."""
        return self.timestamps


# The config of one of the sources that `SOURCES` names.
DataSource = Annotated[SerializeAsAny[DataConfig], PlainValidator(choose_by_name(DataConfig))]


# Name of a block; part of the names of a model's tensors.
BlockName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
IfAbsent = Literal["error", "skip"]


class HistoryConfig(Section):
    """Which items a user rated among the training ratings, or which users rated an item."""

    kind: Literal["history"] = "history"


class CategoryConfig(Section):
    """One column of the block for each value; a column of lists may give a row several."""

    kind: Literal["category"] = "category"
    # Of the data's table of users (of items), by its name there.
    column: Annotated[str, Field(min_length=1)]
    # Where the data has no such column: an error, or the block is left out.
    if_absent: IfAbsent = "error"


class BinnedConfig(Section):
    """A number, cut into bins that hold about as many users (items) each."""

    kind: Literal["binned"] = "binned"
    # Of the data's table of users (of items), by its name there; a number.
    column: Annotated[str, Field(min_length=1)]
    # How many; fewer where values are so few that bins would be equal.
    bins: Annotated[int, Field(ge=2, le=1_000_000)]
    # Where the data has no such column: an error, or the block is left out.
    if_absent: IfAbsent = "error"


class NumberConfig(Section):
    """A number as it is, in standard deviations from its mean: one column."""

    kind: Literal["number"] = "number"
    # Of the data's table of users (of items), by its name there; a number.
    column: Annotated[str, Field(min_length=1)]
    # Where the data has no such column: an error, or the block is left out.
    if_absent: IfAbsent = "error"


class TextConfig(Section):
    """Words of a text, hashed into columns and weighted by tf-idf."""

    kind: Literal["text"] = "text"
    # Of the data's table of users (of items), by its name there; text, or lists of it.
    column: Annotated[str, Field(min_length=1)]
    # How many; words that share one cannot be told apart.
    hashes: Annotated[int, Field(ge=2, le=1 << 20)] = 1024
    # Where the data has no such column: an error, or the block is left out.
    if_absent: IfAbsent = "error"


class ColumnsFeatureConfig(Section):
    """Every column of the table that says something: values of text and lists, bins of numbers."""

    kind: Literal["columns"] = "columns"


OfAColumn = CategoryConfig | BinnedConfig | NumberConfig | TextConfig
Feature = Annotated[HistoryConfig | OfAColumn | ColumnsFeatureConfig, Field(discriminator="kind")]


class TimeConfig(Section):
    """An effect of its own for each user (item) in each period of so many days."""

    # Whose effect it is.
    of: Literal["users", "items"]
    # Length of a period.
    days: Annotated[int, Field(ge=1, le=MOST)]


class FeaturesConfig(Section):
    """Blocks of features by name; no block at all where nothing is told but ids."""

    # Blocks of users.
    users: dict[BlockName, Feature] = Field(default_factory=dict)
    # Blocks of items.
    items: dict[BlockName, Feature] = Field(default_factory=dict)
    # Effects of time.
    time: dict[BlockName, TimeConfig] = Field(default_factory=dict)
    # Share of items whose own rows each step leaves out, so that features learn to replace them.
    id_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _something_can_stand_in(self) -> Self:
        blocks = self.items.values()
        if self.id_dropout and all(isinstance(each, HistoryConfig) for each in blocks):
            raise ValueError(
                "features.id_dropout leaves out rows of items so that features stand in for "
                f"them, but {'nothing but history' if blocks else 'none'} is configured for "
                "items; set features=everything, or features.id_dropout=0"
            )
        return self

    def __bool__(self) -> bool:
        """Whether there is any block."""
        return bool(self.users or self.items or self.time)
