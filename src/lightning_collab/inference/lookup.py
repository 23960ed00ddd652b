"""Rows of the model from ids and titles as people and files give them, and arguments from Python.

Those of another kind are refused in words.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lightning_collab.config.section import suggestion
from lightning_collab.data.vocabulary import ID_COLUMN, UNKNOWN_ROW, Side, Vocabulary
from lightning_collab.errors import ConfigError, NotFoundError, shape_of
from lightning_collab.runs.text import printable
from lightning_collab.training.trained_model import TrainedModel

RawIds = pl.Series | Iterable[Any]


def rows_of_ids(vocabulary: Vocabulary, raw_ids: RawIds) -> NDArray[np.int32]:
    """Rows of the model, the unknown row for what is no id of it, whatever its type.

    Args:
        vocabulary: of users or items.
        raw_ids: n ids: a column, an array or a list, also of several types.

    Returns:
        int32 [n].
    """
    if isinstance(raw_ids, torch.Tensor):
        raw_ids = raw_ids.cpu().numpy()
    if isinstance(raw_ids, np.ndarray) and raw_ids.dtype != object:
        raw_ids = pl.Series(raw_ids)
    if not isinstance(raw_ids, pl.Series):
        raw_ids = pl.Series([_plain(each) for each in raw_ids], dtype=pl.String, strict=False)
    if raw_ids.dtype.is_float():
        # Ids that a missing value has once turned into floats; 1.5 is no id.
        whole = raw_ids.cast(pl.Int64, strict=False)
        raw_ids = whole.set(raw_ids != whole.cast(pl.Float64), None)
    elif raw_ids.dtype in (pl.Categorical, pl.Enum):
        raw_ids = raw_ids.cast(pl.String)
    elif not (raw_ids.dtype.is_integer() or raw_ids.dtype == pl.String):
        return np.zeros(len(raw_ids), dtype=np.int32)
    return vocabulary.encode(raw_ids)


def _plain(raw_id: Any) -> str | None:
    """An id as text; None for what is none."""
    if isinstance(raw_id, float) and raw_id.is_integer():
        return str(int(raw_id))
    if isinstance(raw_id, bool) or not isinstance(raw_id, str | int | np.integer):
        return None
    return str(raw_id)


# How many titles an error message lists.
SHOWN = 10
COMPARED = 1000

_YEAR = re.compile(r"\s*\(\d{4}\)\s*$")
_ARTICLE = re.compile(r"^(?P<rest>.*), (?P<article>the|a|an|les|la|le|l'|il|das|der|die|el)$")


def row_of_title(run: TrainedModel, title: str) -> int:
    """The model's row of the item with a title.

    Upper and lower case, the year and the place of the article do not matter as long as only one
    item matches: `toy story` finds `Toy Story (1995)`, `The Godfather` finds `Godfather, The
    (1972)`. Else one item whose title contains the words is taken.

    Args:
        run: a trained run whose source has titles.
        title: as a user types it.

    Returns:
        Row of the model's tables, above 0.

    Raises:
        NotFoundError: no item matches (the message has the closest titles by spelling), several
            do (it lists them), or the one that does has no training ratings.
    """
    if "title" not in run.items.columns:
        raise NotFoundError(
            f"{run.directory.path}: its data has no titles; name the item by its id (item=...)"
        )
    columns = ["item", "title", "ratings"]
    everything = pl.concat([run.items.select(columns), run.unseen_items.select(columns)])
    found = _matching(everything, title)
    if len(found) == 1:
        return row_of_id(run, "items", found["item"][0])
    if found.is_empty():
        raise NotFoundError(f"no title matches {title!r}{_suggestions(everything, title)}")
    shown = found.sort("ratings", descending=True).head(SHOWN)
    lines = [
        f"  item={printable(item)}  {printable(name)}  ({ratings} ratings)"
        for item, name, ratings in shown.rows()
    ]
    more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise NotFoundError(
        f"{len(found)} titles match {title!r}; name one by its id:\n" + "\n".join(lines) + more
    )


def row_of_item(run: TrainedModel, named: Any) -> int:
    """The model's row of an item that is named by its raw id, else by its title.

    Args:
        run: a trained run.
        named: the id, or the title as a user types it where no item has such an id.

    Raises:
        NotFoundError: as of `row_of_id`, or of `row_of_title` where the items have titles.
    """
    known = rows_of_ids(run.item_vocabulary, [named])[0] != UNKNOWN_ROW
    untrained = run.unseen_items["item"].cast(pl.String).is_in([str(named)]).any()
    # A number is meant as an id, though titles have numbers in them.
    is_id = known or untrained or isinstance(named, int | float)
    if is_id or "title" not in run.items.columns:
        return row_of_id(run, "items", named)
    try:
        return row_of_title(run, str(named))
    except NotFoundError as error:
        if not str(error).startswith("no title"):
            raise
        raise NotFoundError(f"there is no item {printable(named)}, and {error}") from None


def row_of_id(run: TrainedModel, side: Side, raw_id: Any) -> int:
    """The model's row of a raw id.

    Args:
        run: a trained run.
        side: `users` or `items`.
        raw_id: as the data has it.

    Raises:
        NotFoundError: the run does not know the id.
    """
    vocabulary = run.user_vocabulary if side == "users" else run.item_vocabulary
    row = int(rows_of_ids(vocabulary, [raw_id])[0])
    if row != UNKNOWN_ROW:
        return row
    unseen = run.unseen_users if side == "users" else run.unseen_items
    named = ID_COLUMN[side]
    described = unseen.filter(pl.col(named).cast(pl.String) == str(raw_id))
    if not described.is_empty():
        title = printable(described["title"][0] or "") if "title" in described.columns else ""
        raise NotFoundError(
            f"{named} {printable(raw_id)} {title}".rstrip()
            + " has no training ratings, so the model knows nothing about it"
        )
    ids = vocabulary.ids
    raise NotFoundError(
        f"there is no {named} {printable(raw_id)}; the run knows {len(ids):,} {side}, "
        f"with ids from {printable(ids[0])} to {printable(ids[-1])}{_close_ids(ids, raw_id)}"
    )


def _close_ids(ids: pl.Series, raw_id: Any) -> str:
    """The known ids that somebody may have meant."""
    if ids.dtype == pl.String:
        # Spelling is compared among those that stand near in the alphabet, which any number has.
        place = int(ids.search_sorted(str(raw_id)))
        near = ids.slice(max(0, place - COMPARED), 2 * COMPARED).to_list()
        close = get_close_matches(str(raw_id), near, n=3, cutoff=0.5)
    elif re.fullmatch(r"-?[0-9]{1,18}", str(raw_id)):
        place = int(ids.search_sorted(int(raw_id)))
        close = ids.slice(max(0, place - 1), 2).to_list()
    else:
        return "; its ids are numbers"
    return f"; the closest: {', '.join(map(printable, close))}" if close else ""


def normalised(title: str) -> str:
    """A title in lower case, its article in front: `Godfather, The (1972)` is `the godfather`.

    Args:
        title: with or without a year.
    """
    bare = _YEAR.sub("", title.strip().lower())
    article = _ARTICLE.match(bare)
    return f"{article['article']} {article['rest']}" if article else bare


def _matching(items: pl.DataFrame, title: str) -> pl.DataFrame:
    """The items that match best: the very title, the title without year, or a part of it."""
    plain, wanted = title.strip().lower(), normalised(title)
    typed_year = _YEAR.search(title)
    bare = pl.col("title").map_elements(normalised, return_dtype=pl.String)
    ways = [pl.col("title").str.to_lowercase() == plain]
    if typed_year is None:
        ways += [bare == wanted, bare.str.contains(wanted, literal=True)]
    else:
        same_year = pl.col("title").str.contains(typed_year[0].strip(), literal=True)
        ways.append((bare == wanted) & same_year)
    for way in ways:
        found = items.filter(way)
        if not found.is_empty():
            return found
    return items.head(0)


def _suggestions(items: pl.DataFrame, title: str) -> str:
    names = {normalised(name): name for name in items.sort("ratings")["title"].to_list()}
    close = get_close_matches(normalised(title), list(names), n=5, cutoff=0.5)
    if not close:
        return ""
    lines = "\n".join(f"  {printable(names[name])}" for name in close)
    return f"; the closest by spelling:\n{lines}"


def whole(key: str, given: Any, least: int | None = None) -> int:
    """A whole number.

    Args:
        key: the argument's name.
        given: its value.
        least: the lowest that it may be; None: any.

    Raises:
        ConfigError: it is none, or below that.
    """
    if isinstance(given, bool) or not isinstance(given, Integral):
        raise ConfigError(f"{key}: must be a whole number (got {shape_of(given)})")
    if least is not None and given < least:
        raise ConfigError(f"{key}: at least {least} is needed (got {given})")
    return int(given)


def one_of(key: str, given: Any, known: Sequence[str]) -> None:
    """Refuse what is none of some words.

    Args:
        key: the argument's name.
        given: its value.
        known: the words.

    Raises:
        ConfigError: it is another.
    """
    if not isinstance(given, str) or given not in known:
        raise ConfigError(f"{key}: there is no {shape_of(given)}; {suggestion(str(given), known)}")


def is_id(given: Any) -> bool:
    """Whether it is one id, right or wrong, and no list of them."""
    return isinstance(given, str | int | float | np.generic)


def ids_in(key: str, given: Any) -> RawIds:
    """Ids as a column, an array or a list; a single one is a list of it.

    Args:
        key: the argument's name.
        given: its value.

    Raises:
        ConfigError: it is something else.
    """
    if is_id(given):
        return [given]
    # What has columns is a table.
    refused = isinstance(given, bytes | Mapping) or hasattr(given, "columns")
    if refused or not isinstance(given, Iterable):
        raise ConfigError(
            f"{key}: must be an id, or a list, array or column of ids, not "
            f"{'None' if given is None else f'a {type(given).__name__}'}"
        )
    return given.tolist() if isinstance(given, torch.Tensor) else given
