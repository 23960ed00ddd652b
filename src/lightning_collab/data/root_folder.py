"""Where raw data files live."""

import os
from pathlib import Path

from platformdirs import user_cache_path

ENVIRONMENT_VARIABLE = "LIGHTNING_COLLAB_DATA"


def root_folder(root: str | None) -> Path:
    """The folder of the raw files.

    Args:
        root: `data.root`; None: the environment variable LIGHTNING_COLLAB_DATA, and where that is
            not set either, the user's cache folder.
    """
    if root is None:
        root = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(root).expanduser() if root else user_cache_path("lightning-collab") / "data"
