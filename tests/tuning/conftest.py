"""Studies on small storages, and a config loader of Hydra's as a sweeper gets it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from support import CONF

from lightning_collab.front_door import register_resolvers
from lightning_collab.tuning.composition import Composer


@pytest.fixture(scope="session")
def config_loader() -> ConfigLoaderImpl:
    """Hydra's, for conf/ of this repository."""
    register_resolvers()
    Plugins.instance()
    return ConfigLoaderImpl(create_config_search_path(str(CONF)))


@pytest.fixture
def composer(config_loader: ConfigLoaderImpl) -> Callable[..., Composer]:
    """Makes a composer of scripts/train.py with the overrides typed."""

    def make(*typed: str) -> Composer:
        master = config_loader.load_configuration("train", list(typed), RunMode.MULTIRUN)
        return Composer(config_loader, master, typed)

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The path of a journal file."""
    return tmp_path / "study.log"


@pytest.fixture(autouse=True)
def _quiet_and_clean() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    GlobalHydra.instance().clear()
