"""The usual names of columns, by which those are found that nobody has named."""

import logging
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from lightning_collab.config.columns import AUTO, OPTIONAL, Column
from lightning_collab.data.checked_table import Caller
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

# By which a column is found, as `plain` writes them; the first is ours.
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "user": ("user", "userid", "customer", "customerid"),
    "item": (
        *("item", "itemid", "movie", "movieid", "film", "filmid"),
        *("product", "productid", "sku"),
    ),
    "rating": ("rating", "score", "stars"),
    "timestamp": ("timestamp", "time", "date", "datetime"),
    "part": ("part", "split"),
    "weight": ("weight", "count", "plays"),
}
# Those of some public data sets, taken where there is none of the usual ones.
FURTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "user": ("reviewer", "reviewerid", "member", "memberid", "visitor", "visitorid", "account"),
    "item": (
        *("asin", "book", "bookid", "isbn", "game", "gameid", "anime", "animeid", "joke", "jokeid"),
        *("track", "trackid", "song", "songid", "artist", "artistid", "business", "businessid"),
    ),
    "rating": ("overall", "bookrating"),
    "timestamp": ("unixreviewtime",),
    "part": (),
    "weight": ("playcount",),
}
# RecBole writes the type of a column after its name, such as `user_id:token`.
TYPED = re.compile(r":(token|token_seq|float|float_seq)$")
# What each is called in messages, of several rows.
PLURALS = {
    "user": "users",
    "item": "items",
    "rating": "ratings",
    "timestamp": "timestamps",
    "part": "parts",
    "weight": "weights",
}
# What is said of a value in a column that `auto` has taken, which may be something else.
DOUBTFUL = {
    "timestamp": ("valid timestamp", "is not a time in", "sense: timestamp"),
    "part": ("is not one of train", "sense: part"),
    "weight": ("valid weight", "sense: weight"),
}


def plain(name: str) -> str:
    """A name without what people write in different ways: capitals, `_`, `-`, spaces, a type."""
    return TYPED.sub("", name.lower()).translate({ord(each): None for each in "_- "})


def usual_columns(ours: str, names: Sequence[str]) -> list[str]:
    """The columns that a name of ours may mean; that name alone where it is there.

    Args:
        ours: a key of `USUAL_NAMES`.
        names: of the columns there are.
    """
    if ours in names:
        return [ours]
    usual = [name for name in names if plain(name) in USUAL_NAMES[ours]]
    return usual or [name for name in names if plain(name) in FURTHER_NAMES[ours]]


def like(wanted: str, names: Sequence[str]) -> list[str]:
    """The columns that may be meant by a name that is not there: alike, or with it in theirs.

    Args:
        wanted: the name.
        names: of the columns there are.
    """
    by_plain = {plain(name): name for name in reversed(names)}
    close = get_close_matches(plain(wanted), by_plain, n=2, cutoff=0.7)
    close += [each for each in by_plain if plain(wanted) in each or each in plain(wanted)]
    return [by_plain[each] for each in dict.fromkeys(close) if each][:2]


def found_columns(
    asked: Mapping[str, Column | None],
    names: Sequence[str],
    title: str,
    caller: Caller,
    hint: str = "",
) -> dict[str, Column]:
    """Which columns are taken: those that are named, and in place of `auto` those that are found.

    Args:
        asked: our name -> `auto`, a name, a position counted from 1 or None for none.
        names: of the columns there are; that those named are among them is not looked at.
        title: what the columns are of, as messages name it.
        caller: in whose words advice is given.
        hint: what else may help where a column is not found.

    Returns:
        Our name -> name or position, of the columns that are taken.

    Raises:
        DataError: none, or several, may be a column that is needed.
    """
    named = {column for column in asked.values() if column != AUTO}
    free = [each for place, each in enumerate(names, 1) if each not in named and place not in named]
    taken: dict[str, Column] = {}
    for ours, column in asked.items():
        if column is None:
            continue
        if column != AUTO:
            taken[ours] = column
            continue
        found = usual_columns(ours, free)
        if len(found) > 1:
            raise DataError(
                f"{title}: several columns could be the {PLURALS[ours]}; "
                f"{caller.advice(f'columns.{ours}', *found)}"
            )
        if found:
            taken[ours] = found[0]
        elif ours not in OPTIONAL:
            raise DataError(f"{title}: {_not_found(ours, names, caller)}{hint}")
    return taken


def log_taken(title: str, columns: Mapping[str, str]) -> None:
    """Say which columns were taken where nobody has named each.

    Args:
        title: what the columns are of.
        columns: our name -> theirs.
    """
    log.info("%s: columns %s", title, ", ".join(f"{ours}={each}" for ours, each in columns.items()))


def _not_found(ours: str, names: Sequence[str], caller: Caller) -> str:
    without = ""
    if ours == "rating":
        without = f"; for data without ratings, {caller.advice('columns.rating', None)}"
    meant = like(ours, names)
    name_it = (
        f"If it is one of them, {caller.advice(f'columns.{ours}', *meant)}"
        if meant
        else f"Name it with {caller.key(f'columns.{ours}')}"
    )
    return (
        f"no column of the {PLURALS[ours]} with a usual name ({', '.join(USUAL_NAMES[ours])}); it "
        f"has {', '.join(map(repr, names)) or 'no columns'}. {name_it}{without}"
    )


def advice_on_found(message: str, asked: Mapping[str, Column | None], caller: Caller) -> str:
    """What to do about a value that is wrong in a column that nobody has named.

    Args:
        message: of the error.
        asked: as in `found_columns`.
        caller: in whose words advice is given.

    Returns:
        The advice, to be put after the message; empty where it is of no such column.
    """
    for ours, complaints in DOUBTFUL.items():
        if asked.get(ours) == AUTO and any(each in message for each in complaints):
            return (
                f". The column was found by its name; if it is not the {PLURALS[ours]}, "
                f"{caller.advice(f'columns.{ours}', None)}"
            )
    return ""
