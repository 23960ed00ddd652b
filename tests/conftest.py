"""What all tests share: real data where there is some, small made-up ratings, composed configs."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from film_runs import film_run  # noqa: F401 (a fixture)
from frames import frame  # noqa: F401 (a fixture)
from hypothesis import settings
from model_runs import run_of, trained  # noqa: F401 (fixtures)
from support import REPOSITORY, composed

from lightning_collab.config import RunConfig, validated
from lightning_collab.config.registry import REGISTRIES
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.errors import DataError

# Tests measure nothing, and two threads of torch in each of several processes only get in each
# other's way on a small machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# A slow machine is no failure, and a failure is the same on every machine.
settings.register_profile("same everywhere", deadline=None, derandomize=True)
settings.load_profile("same everywhere")


@pytest.fixture(autouse=True)
def _environment_stays() -> Iterator[None]:
    """What a library leaves in the environment (a cluster's address) is not the next test's."""
    before = dict(os.environ)
    yield
    for name in {*before, *os.environ} - {"PYTEST_CURRENT_TEST"}:
        if name not in before:
            del os.environ[name]
        elif os.environ.get(name) != before[name]:
            os.environ[name] = before[name]


@pytest.fixture(autouse=True)
def _parts_stay() -> Iterator[None]:
    """What a test registers is not known to the next one."""
    known = [each for registry in REGISTRIES.values() for each in vars(registry).values()]
    before = [(each, dict(each)) for each in known if isinstance(each, dict)]
    yield
    for each, content in before:
        each.clear()
        each.update(content)


@pytest.fixture(scope="session")
def run_config() -> Callable[..., RunConfig]:
    """A checked config from overrides, as typed on the command line."""
    return lambda *overrides: validated(composed(*overrides))


@pytest.fixture(scope="session")
def ml_100k() -> RatingTable:
    """The real MovieLens 100K, wherever it can be had."""
    from lightning_collab.data.sources import ml_100k
    from lightning_collab.data.sources.movielens import root_folder

    try:
        return ml_100k.load(root_folder(None))
    except DataError as error:
        pytest.skip(f"MovieLens 100K cannot be had here: {error}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with original GroupLens files, official folds and both small editions."""
    folder = os.environ.get("LIGHTNING_COLLAB_DATA")
    if not folder or not (Path(folder) / "ml-100k" / "u1.test").is_file():
        pytest.skip("LIGHTNING_COLLAB_DATA does not name a folder with the original files")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def small_table() -> RatingTable:
    """600 made-up ratings of 1 to 5 by 30 users of 20 items, from known biases and factors."""
    random = np.random.default_rng(0)
    users, items = np.divmod(random.permutation(30 * 20), 20)
    factors = random.normal(size=(30, 2)) @ random.normal(size=(2, 20))
    scores = 3 + factors + random.normal(size=30)[:, None] + random.normal(size=20)
    ratings = scores[users, items].clip(1, 5).round()
    rows = pl.DataFrame(
        {"user": users + 100, "item": items + 7, "rating": ratings, "timestamp": 10**9 + users}
    )
    return RatingTable.of_checked(rows, name="small", rating_range=(1.0, 5.0))


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command as a person does: a fresh process, in a folder of its own."""

    def run(
        script: str, *arguments: str, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        data = os.environ.get("LIGHTNING_COLLAB_DATA")
        variables = {"LIGHTNING_COLLAB_DATA": str(Path(data).resolve())} if data else {}
        return subprocess.run(
            [sys.executable, str(REPOSITORY / "scripts" / script), *arguments],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200", **variables, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    # Late: few tests need Selenium.
    from benchmarks.browser import headless_browser
    from lightning_collab.errors import InspectionError

    try:
        with headless_browser() as window:
            yield window
    except InspectionError as error:
        pytest.skip(str(error))
