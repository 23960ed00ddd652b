"""Our own fit by the protocol of the other packages, in a process of its own.

Run as `python -m benchmarks.peers.ours <ratings> <settings.json> <output.json>`;
`settings["config"]` holds the config of the run, whose data these ratings are.
"""

import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.epochs import bare_trainer
from benchmarks.peers.runner import MEASURES, Fit, Ratings, Settings, read_ratings
from lightning_collab.config import RunConfig, validated
from lightning_collab.data.batches import RatingBatch
from lightning_collab.training.build import build_module, load_data


def our_fit(config: RunConfig, val: Ratings) -> Any:
    """From epochs to a `Fit`: a fresh module, and Lightning's Trainer without loggers or files.

    Args:
        config: of the run, but for its number of epochs, over which its one cycle goes.
        val: what is predicted; users and items numbered from 0.
    """
    data = load_data(config)
    pairs = RatingBatch(
        users=torch.from_numpy(val.users + np.int32(1)),
        items=torch.from_numpy(val.items + np.int32(1)),
        ratings=torch.from_numpy(val.ratings),
    )

    def fit(epochs: int) -> Fit:
        length = config.trainer.model_copy(update={"max_epochs": epochs})
        run = config.model_copy(update={"trainer": length})
        trainer = bare_trainer(epochs)
        started = time.perf_counter()
        module = build_module(run, data)
        trainer.fit(module, datamodule=data)
        seconds = time.perf_counter() - started
        with torch.no_grad():
            return Fit(seconds, module.model.eval()(pairs).numpy())

    return fit


def main(ratings: str, settings_file: str, output: str) -> None:
    """Measure our own fit; see the module."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    settings: Settings = json.loads(Path(settings_file).read_text())
    torch.set_num_threads(settings["threads"])
    train, val = read_ratings(Path(ratings))
    fit = our_fit(validated(settings["config"]), val)
    measured = MEASURES[settings["measure"]](fit, train, val, settings)
    Path(output).write_text(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
