"""What the kernels know of an optimizer for one group of parameters: numbers for each step."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_collab.config.optimizer import OptimizerConfig

Numbers = NDArray[np.float64]

# Places in `UpdateRule.numbers`; Adam has further ones.
KIND, ROW_DECAY, RESTING = range(3)
FROZEN, SGD, ADAM = 0.0, 1.0, 2.0


class UpdateRule(NamedTuple):
    """The optimizer of one group over the steps of a block; see `sgd_rule` and `adam_rule`.

    Three arrays for either optimizer, so that one kernel is compiled.

    Attributes:
        numbers: float64 [9]. KIND: one of FROZEN, SGD, ADAM. ROW_DECAY: of the penalty on the rows
            that a batch touches. RESTING: 1 where a row whose moments are zero stays as it is while
            no batch touches it. Of Adam: BETA1, BETA2, EPS; DECAY: weight decay that is added to
            the gradient; WINDOW: missed steps after which a first moment no longer moves a weight;
            SERIES: 1 where missed steps can be summed.
        steps: float64 [rows, steps + 1]. SGD's GAIN: what a gradient is multiplied with on its way
            to the weight. Adam's RATE: learning rate with both bias corrections in it; ROOT: square
            root of the second bias correction; SHRINK: factor of decoupled decay; SHRINK_AFTER:
            product of these from a step on; POWER1, POWER2: powers of beta1 and beta2; STRETCHED:
            powers of 1 / sqrt(beta2); SUMS: SERIES_TERMS rows, sums over the steps from one on.
        chain: float64 [levels, steps, 4], SGD: step t of an untouched row is the 2 x 2 matrix
            `chain[0, t]` on (weight, momentum); `chain[k, j]` is the product of the steps
            j * 2^k to (j + 1) * 2^k.
    """

    numbers: Numbers
    steps: Numbers
    chain: Numbers

    @staticmethod
    def numbers_of(kind: float, config: OptimizerConfig, decay: float) -> Numbers:
        """KIND, ROW_DECAY and RESTING; zeros for what is of one kind alone.

        Args:
            kind: SGD or ADAM.
            config: the `optimizer` section.
            decay: the group's weight decay.
        """
        numbers = np.zeros(9)
        numbers[KIND] = kind
        numbers[ROW_DECAY] = decay if config.decay == "per_row" else 0.0
        numbers[RESTING] = config.decay == "per_row" or decay == 0
        return numbers


NO_CHAIN = np.zeros((0, 0, 4))


def frozen_rule(row_decay: float = 0.0) -> UpdateRule:
    """The rule of a group that is not trained, or that the model does not have.

    Args:
        row_decay: of the penalty, which counts in the loss all the same.
    """
    numbers = np.zeros(9)
    numbers[ROW_DECAY] = row_decay
    return UpdateRule(numbers, np.zeros((0, 0)), NO_CHAIN)
