"""Python processes that import `benchmarks`, wherever they are started."""

import os
from pathlib import Path

# The repository, which holds `benchmarks/`, `scripts/` and `conf/`.
ROOT = Path(__file__).resolve().parents[1]


def environment(**further: str) -> dict[str, str]:
    """Variables with which a fresh interpreter finds this package.

    Args:
        further: more variables.
    """
    known = os.environ.get("PYTHONPATH")
    paths = [str(ROOT), *([known] if known else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **further}
