"""The official folds of MovieLens 100K, which the order of its ratings already says.

The archive of GroupLens has each fold as two files, which repeat ratings of u.data. Their rows are
those below, so that a copy of the ratings without the files has the folds as well.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

FIFTHS = ("u1", "u2", "u3", "u4", "u5")
TEN_OF_EACH_USER = ("ua", "ub")
FOLDS = (*FIFTHS, *TEN_OF_EACH_USER)
ROWS_OF_A_FIFTH = 20_000
ROWS_OF_A_USER = 10


def official_folds(users: pl.Series) -> dict[str, NDArray[np.int32]]:
    """The test rows of each fold; all other rows are its base.

    u1 to u5 are the first 20,000 rows, the next, and so on; ua and ub are the first ten rows of
    each user and the next ten.

    Args:
        users: of the 100,000 ratings, in the order of the release; in any other order the rows
            would be no official folds.
    """
    earlier = users.to_frame("user").select(pl.int_range(pl.len()).over("user")).to_series()
    fifth = np.arange(len(users)) // ROWS_OF_A_FIFTH
    ten = earlier.to_numpy() // ROWS_OF_A_USER
    rows = {fold: fifth == number for number, fold in enumerate(FIFTHS)}
    rows |= {fold: ten == number for number, fold in enumerate(TEN_OF_EACH_USER)}
    return {fold: np.flatnonzero(chosen).astype(np.int32) for fold, chosen in rows.items()}
