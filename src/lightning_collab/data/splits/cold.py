"""All ratings of some items, or of some users, are held out: how well are new ones served?"""

import numpy as np

from lightning_collab.config.split import ColdItemsConfig, ColdUsersConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import SplitRows, divided, permutation
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
    there = np.unique(of_rows)
    count = round(config.share * len(there))
    if config.folds is not None and config.folds > len(there):
        raise DataError(
            f"split.folds={config.folds} of {len(there)} {config.side} leaves folds without any"
        )
    if config.folds is None and not 0 < count < len(there):
        raise DataError(
            f"split.share={config.share} of {len(there)} {config.side} is {count}, and there must "
            f"be some to test and some to train on; set split.share to 1/{config.side} or more"
        )
    order = there[permutation(len(there), config.seed)]
    held_out = order[:count] if config.folds is None else order[config.fold - 1 :: config.folds]
    cold = np.zeros(int(there[-1]) + 1, dtype=bool)
    cold[held_out] = True
    of_test = cold[of_rows]
    rest = permutation(len(table), config.seed)
    val, train = divided(rest[~of_test[rest]], config.val, "split.val")
    return SplitRows(train, val, np.flatnonzero(of_test))
