"""What others reach by the same protocol: measured where they are installed, else as known."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning_collab.benchmarks.peers import runner
from lightning_collab.config.compose import composed_run
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.training.build import load_data

log = logging.getLogger(__name__)


class Peer(NamedTuple):
    """A figure of another package or paper.

    Attributes:
        name: of the package or the method.
        rmse: what it reached.
        source: `published`: by its authors, in the paper or the page that `where` names;
            `measured`: by us with the package, on one core, when this table was laid out.
        where: the paper or page; of a measured figure, the version.
        package: name in `benchmarks/peers/runner.py` where the script can measure it anew.
        settings: for that, `factors`, `epochs` and what else its fit takes.
    """

    name: str
    rmse: float
    source: Literal["published", "measured"]
    where: str
    package: str | None = None
    settings: Mapping[str, float] = {}


class PeerFigure(NamedTuple):
    """A figure as it stands in the table.

    Attributes:
        peer: whose.
        rmse: just measured, or the known one.
        seconds: of the fit; None where it was not measured now.
    """

    peer: Peer
    rmse: float
    seconds: float | None


def figure_of(peer: Peer, overrides: tuple[str, ...]) -> PeerFigure:
    """Measure a peer where it is installed.

    Args:
        peer: whose figure.
        overrides: of a run that has the protocol's training and test part.
    """
    if peer.package is None or find_spec(peer.package) is None:
        return PeerFigure(peer, peer.rmse, None)
    log.info("fitting %s", peer.name)
    config = composed_run(*overrides)
    data = load_data(config)
    with tempfile.TemporaryDirectory() as name:
        fitted = _fitted(peer, data, Path(name), config.seed)
    return PeerFigure(peer, fitted["val_rmse"], fitted["seconds"])


def _fitted(peer: Peer, data: RatingDataModule, folder: Path, seed: int) -> dict[str, Any]:
    """One fit in a process of its own, on one thread, measured on the test part."""
    import numpy as np

    ratings, settings, output = (folder / name for name in ("r.npz", "s.json", "o.json"))
    columns: dict[str, Any] = {}
    for part, rows in (("train", data.rows.train), ("val", data.rows.test)):
        found = data.columns(rows)
        known = (found.users > 0) & (found.items > 0)
        kept = (found.users[known] - 1, found.items[known] - 1, found.ratings[known])
        named = zip(runner.Ratings._fields, kept, strict=True)
        columns |= {f"{part}_{column}": each for column, each in named}
    np.savez(ratings, **columns)
    asked = {
        **peer.settings,
        "epochs_needed": int(peer.settings["epochs"]),
        "target_rmse": 0.0,
        "rating_range": list(data.table.rating_range),
        "threads": 1,
        "seed": seed,
    }
    settings.write_text(json.dumps(asked))
    files = [str(each) for each in (ratings, settings, output)]
    subprocess.run(
        [sys.executable, runner.__file__, str(peer.package), *files],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    fitted: dict[str, Any] = json.loads(output.read_text())
    return fitted
