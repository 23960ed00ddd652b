"""Parsed tables on disk, so that a second start does not parse again."""

import hashlib
import io
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from filelock import FileLock
from numpy.typing import NDArray
from platformdirs import user_cache_path

from lightning_collab.data.files.text_columns import READ_ERRORS
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.runs.files import sum_of

log = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "LIGHTNING_COLLAB_CACHE"
FACTS = "table.json"
# What bytes that are not what was written can raise.
DAMAGE = (*READ_ERRORS, ValueError, LookupError, TypeError, AttributeError)
# From so many bytes on, the user is told what is being waited for.
LONG_WORK = 100_000_000


def cache_folder() -> Path:
    """$LIGHTNING_COLLAB_CACHE, else a folder in the user's cache folder."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("lightning-collab") / "tables"


def cached_table(
    settings: Mapping[str, Any], files: Sequence[Path], parse: Callable[[], RatingTable]
) -> RatingTable:
    """The table of some files: from the cache, else parsed and kept there.

    An entry is found by the sums of the files, the settings and the code that parses them: where
    any of them changes, the table is parsed again and the old entry removed. A damaged entry is
    replaced, and that is said.

    Args:
        settings: what decides how the files are read.
        files: that the table is made of.
        parse: makes it; its errors are passed on.
    """
    what, version = cache_names(settings, files)
    folder = cache_folder()
    entry = folder / f"{what}-{version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{what}.lock"):
            kept = _opened(entry)
            if kept is not None:
                return kept
            size = sum(path.stat().st_size for path in files if path.is_file())
            if size >= LONG_WORK:
                log.info(
                    "parsing %d MB of ratings; the next start reads the parsed table", size / 1e6
                )
            return _kept(entry, parse())
    except OSError as error:
        log.warning(
            "parsed tables cannot be kept in %s (%s); set data.cache=false to stop trying",
            folder,
            error,
        )
        return parse()


def cache_names(settings: Any, files: Sequence[Path]) -> tuple[str, str]:
    """What is kept, and in which version of it: the parts of the name of an entry.

    The same files read in the same way have one entry, the latest.

    Args:
        settings: what decides how the files are read.
        files: that it is made of.
    """
    what = _digest(json.dumps(settings, sort_keys=True), *map(str, files))[:16]
    sums = (sum_of(path) for path in files if path.is_file())
    return what, _digest(code_version(), *sums)[:32]


def code_version() -> str:
    """A sum of the source text of this package: another way of parsing is another table."""
    modules = sorted(Path(__file__).parent.rglob("*.py"))
    return _digest(*(path.read_text() for path in modules))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _opened(entry: Path) -> RatingTable | None:
    """The table of an entry; None where there is none, or a damaged one.

    Arrow files are columns of values: nothing in them is ever run.
    """
    if not entry.is_dir():
        entry.unlink(missing_ok=True)
        return None
    try:
        facts = json.loads((entry / FACTS).read_text())
        frames = {}
        for name, sha256 in facts["sha256"].items():
            content = (entry / f"{name}.arrow").read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise ValueError(f"{name}.arrow is not what was written")
            frames[name] = pl.read_ipc(io.BytesIO(content)).rechunk()
        return _table(facts, frames)
    except DAMAGE as error:
        log.warning("the parsed table in %s is damaged (%s); parsing again", entry, error)
        shutil.rmtree(entry, ignore_errors=True)
        return None


def _kept(entry: Path, table: RatingTable) -> RatingTable:
    """Write an entry, whole or not at all, in place of those of other versions."""
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".writing-") as name:
        folder = Path(name) / "entry"
        folder.mkdir()
        sums = {}
        for each, frame in _frames(table).items():
            path = folder / f"{each}.arrow"
            frame.write_ipc(path)
            sums[each] = sum_of(path)
        facts = {
            "name": table.name,
            "rating_range": table.rating_range,
            "implicit": table.implicit,
            "sha256": sums,
        }
        (folder / FACTS).write_text(json.dumps(facts))
        for old in entry.parent.glob(f"{entry.name.split('-')[0]}-*"):
            shutil.rmtree(old, ignore_errors=True)
        folder.rename(entry)
    log.debug("kept the parsed table in %s", entry)
    return table


def _frames(table: RatingTable) -> dict[str, pl.DataFrame]:
    ratings: dict[str, NDArray[Any]] = {
        "user": table.users,
        "item": table.items,
        "rating": table.ratings,
    }
    if table.timestamps is not None:
        ratings["timestamp"] = table.timestamps
    if table.weights is not None:
        ratings["weight"] = table.weights
    frames = {
        "ratings": pl.DataFrame(ratings),
        "users": pl.DataFrame({"id": table.user_vocabulary.ids}),
        "items": pl.DataFrame({"id": table.item_vocabulary.ids}),
        "user_features": table.user_features,
        "item_features": table.item_features,
        **{f"part_{name}": pl.DataFrame({"row": rows}) for name, rows in table.parts.items()},
    }
    return {name: frame for name, frame in frames.items() if frame is not None}


def _table(facts: dict[str, Any], frames: dict[str, pl.DataFrame]) -> RatingTable:
    ratings = frames["ratings"]
    low, high = facts["rating_range"]
    return RatingTable(
        name=facts["name"],
        users=ratings["user"].to_numpy(),
        items=ratings["item"].to_numpy(),
        ratings=ratings["rating"].to_numpy(),
        timestamps=ratings["timestamp"].to_numpy() if "timestamp" in ratings.columns else None,
        user_vocabulary=Vocabulary(frames["users"]["id"]),
        item_vocabulary=Vocabulary(frames["items"]["id"]),
        rating_range=(float(low), float(high)),
        user_features=frames.get("user_features"),
        item_features=frames.get("item_features"),
        parts={
            name.removeprefix("part_"): frame["row"].to_numpy().astype(np.int32)
            for name, frame in frames.items()
            if name.startswith("part_")
        },
        implicit=facts["implicit"],
        weights=ratings["weight"].to_numpy() if "weight" in ratings.columns else None,
    )
