"""`columns` of `conf/data/csv.yaml`: which columns of your own data are what."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from lightning_collab.config.section import MOST, Section

# Found by its usual names, `lightning_collab.data.column_names.USUAL_NAMES`.
AUTO = "auto"
Column = str | Annotated[int, Field(ge=1, le=MOST)]
# Columns that data may do without, so that `auto` may find none.
OPTIONAL = ("timestamp", "part", "weight")


class _Columns(Section):
    @model_validator(mode="after")
    def _each_is_another(self) -> Self:
        owner: dict[object, str] = {}
        for key, column in self:
            if column in (None, AUTO):
                continue
            if column in owner:
                raise ValueError(
                    f"data.columns.{owner[column]} and data.columns.{key} are both {column!r}; "
                    "each must be a different column"
                )
            owner[column] = key
        return self


class ColumnsConfig(_Columns):
    """Which columns of your own file are what: `auto`, a name, or a position counted from 1."""

    # Ids of users; auto: by its usual names.
    user: Column = AUTO
    # Ids of items; likewise.
    item: Column = AUTO
    # null: data without ratings, in which each row is one interaction.
    rating: Column | None = AUTO
    # auto: where there is one; null: there is none.
    timestamp: Column | None = AUTO
    # A column that says `train`, `val` or `test` (for split=predefined); likewise.
    part: Column | None = AUTO
    # A number above 0: how much a row counts, such as plays or hours; likewise.
    weight: Column | None = AUTO


class FrameColumnsConfig(_Columns):
    """Which columns of a frame are what: `auto`, or a name."""

    # Ids of users; auto: by its usual names.
    user: str = AUTO
    # Ids of items; likewise.
    item: str = AUTO
    # null: data without ratings, in which each row is one interaction.
    rating: str | None = AUTO
    # auto: where there is one; null: there is none.
    timestamp: str | None = AUTO
    # A column that says `train`, `val` or `test` (for split=predefined); likewise.
    part: str | None = AUTO
    # A number above 0: how much a row counts, such as plays or hours; likewise.
    weight: str | None = AUTO
