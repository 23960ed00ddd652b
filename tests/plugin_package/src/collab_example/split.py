"""`split=newcomers`: what is half known of some users is to be predicted."""

from typing import Literal

import numpy as np

from lightning_collab.config.split import SplitConfig
from lightning_collab.data.splits import SplitRows


class Newcomers(SplitConfig):
    """Half of the ratings of some users test, and the other half, with all others, trains."""

    name: Literal["newcomers"] = "newcomers"
    # Share of the users.
    share: float = 0.2
    # Share of the other ratings; 0: no validation part.
    val: float = 0.1

    def split(self, table):
        random = np.random.RandomState(self.seed)
        new = random.random_sample(len(table.user_vocabulary)) < self.share
        order = random.permutation(len(table))
        test = order[new[table.users[order]]][::2]
        rest = order[~np.isin(order, test)]
        val = round(self.val * len(rest))
        return SplitRows(train=rest[val:], val=rest[:val], test=test)
