"""All ratings of some items, or of some users, are held out: how well are new ones served?"""

import numpy as np

from lightning_collab.config.split import ColdItemsConfig, ColdUsersConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import Rows, SplitRows, divided, permutation
from lightning_collab.errors import DataError


def split_off_whole_sides(
    table: RatingTable, config: ColdItemsConfig | ColdUsersConfig
) -> SplitRows:
    """The ratings of randomly drawn items (users) are test; val is drawn out of the others.

    Which ones is a matter of the ids and the seed, not of the order of the rows.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows.
    """
    of_rows = table.items if config.side == "items" else table.users
    held_out = _drawn(np.unique(of_rows), table.name, config)
    cold = np.zeros(int(of_rows.max()) + 1, dtype=bool)
    cold[held_out] = True
    of_test = cold[of_rows]
    rest = permutation(len(table), config.seed)
    val, train = divided(rest[~of_test[rest]], config.val, "split.val")
    return SplitRows(train, val, np.flatnonzero(of_test).astype(rest.dtype))


def _drawn(ids: Rows, name: str, config: ColdItemsConfig | ColdUsersConfig) -> Rows:
    """Which of a table's ids are held out.

    Args:
        ids: all that have ratings, in ascending order.
        name: of the table, for messages.
        config: the `split` section.
    """
    whole = f"the {len(ids)} {config.side} of {name}"
    if len(ids) < 2:
        raise DataError(
            f"split={config.name} needs two {config.side} or more, some to test on and some to "
            f"train on, and {name} has ratings of {len(ids)}; choose another split"
        )
    order = ids[permutation(len(ids), config.seed)]
    if config.folds is not None:
        if config.folds > len(ids):
            raise DataError(
                f"split.folds={config.folds} of {whole} leaves folds without any; set split.folds "
                f"to {len(ids)} or less"
            )
        return order[config.fold - 1 :: config.folds]
    count = round(config.share * len(ids))
    if count == 0:
        raise DataError(
            f"split.share={config.share} of {whole} leaves none to test on; set split.share to "
            f"{1 / len(ids):.2g} or more"
        )
    if count == len(ids):
        raise DataError(
            f"split.share={config.share} of {whole} leaves none to train on; lower split.share"
        )
    return order[:count]
