"""Which rows are looked at: protocols leave out low ratings, and rare users and items."""

import logging
from dataclasses import replace

import numpy as np

from lightning_collab.config.data import DataConfig
from lightning_collab.data.checked_table import Caller
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)


def kept_rows(table: RatingTable, config: DataConfig, caller: Caller) -> RatingTable:
    """The rows that `data.min_rating` and `data.k_core` leave, and the users and items in them.

    Args:
        table: each pair of user and item in it at most once.
        config: the `data` section.
        caller: in whose words messages are.

    Raises:
        DataError: no row is left.
    """
    asked = {"min_rating": config.min_rating, "k_core": config.k_core}
    keys = ", ".join(
        f"{caller.key(key)}{'' if caller is Caller.PYTHON else '='}{value:g}"
        for key, value in asked.items()
        if value is not None
    )
    if not keys:
        return table
    kept = with_known_vocabularies(
        in_core(rated_at_least(table, config.min_rating, caller), config.k_core, caller)
    )
    log.info(
        "%s: %d %s of %d users and %d items are left (%s)",
        *(table.name, len(kept), table.rows_called),
        *(len(kept.user_vocabulary) - 1, len(kept.item_vocabulary) - 1, keys),
    )
    return kept


def rated_at_least(table: RatingTable, lowest: float | None, caller: Caller) -> RatingTable:
    """The rows with a rating of `lowest` or more.

    Args:
        table: all ratings.
        lowest: None: all rows are kept.
        caller: in whose words messages are.

    Raises:
        DataError: no row is left, or the data has no ratings.
    """
    if lowest is None:
        return table
    if table.implicit:
        raise DataError(f"{caller.key('min_rating')}: {table.name} has no ratings")
    # As the ratings are kept: 3.3 is a little more, or less, as a float of 32 bits.
    kept = np.flatnonzero(table.ratings >= np.float32(lowest))
    if not len(kept):
        raise DataError(
            f"{table.name}: no rating is {lowest:g} or more ({caller.key('min_rating')}); the "
            f"highest is {table.ratings.max():g}"
        )
    return table if len(kept) == len(table) else table.only(kept)


def in_core(table: RatingTable, k: int | None, caller: Caller) -> RatingTable:
    """The k-core: the most rows in which each user and each item has `k` or more.

    Users and items that have fewer are left out in turn until none does; the order makes no
    difference to what is left.

    Args:
        table: each pair of user and item in it at most once.
        k: None: all rows are kept.
        caller: in whose words messages are.

    Raises:
        DataError: no row is left.
    """
    if k is None:
        return table
    kept = np.arange(len(table))
    while True:
        enough = np.ones(len(kept), dtype=bool)
        for column in (table.users, table.items):
            rows = column[kept]
            enough &= np.bincount(rows)[rows] >= k
        if enough.all():
            break
        kept = kept[enough]
        if not len(kept):
            raise DataError(
                f"{table.name}: no users and items have {k} {table.rows_called} or more among "
                f"each other ({caller.key('k_core')}); lower it"
            )
    return table if len(kept) == len(table) else table.only(kept)


def with_known_vocabularies(table: RatingTable) -> RatingTable:
    """The same rows, with the ids alone that occur in them.

    Args:
        table: any.
    """
    users, user_row = table.user_vocabulary.restricted_to(table.users)
    items, item_row = table.item_vocabulary.restricted_to(table.items)
    return replace(
        table,
        users=user_row[table.users],
        items=item_row[table.items],
        user_vocabulary=users,
        item_vocabulary=items,
    )
