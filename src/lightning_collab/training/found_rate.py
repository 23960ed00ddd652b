"""A run that looks for its learning rate first."""

import logging

from lightning_collab.config import RunConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.training.lr_range_test import run_lr_range_test
from lightning_collab.training.range_test_report import write_range_test
from lightning_collab.training.run_directory import RunDirectory

log = logging.getLogger(__name__)


def with_found_rate(config: RunConfig, data: RatingDataModule, run: RunDirectory) -> RunConfig:
    """The config with the learning rate that the range test suggests.

    The run keeps the rate, not the search, so that it can be resumed and repeated as it was.

    Args:
        config: of the run, with `find_lr`.
        data: split ratings.
        run: where the curve is kept.

    Raises:
        TrainingError: the range test found no rate.
    """
    found = run_lr_range_test(config, data)
    rule = config.lr_range_test.suggestion
    rate = found.suggested(rule)
    write_range_test(found, run, chosen=rule)
    log.info("learning rate by the range test (%s): %g", rule, rate)
    optimizer = config.optimizer.model_copy(update={"lr": rate})
    return config.model_copy(update={"optimizer": optimizer, "find_lr": False})
