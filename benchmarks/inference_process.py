"""One run asked in a process of its own: seconds of load, of all users, and the peak of memory."""

import json
import sys
import time
from pathlib import Path
from typing import Any


def main(run_directory: str, output: str, threads: int) -> dict[str, float]:
    """Load a run and write the ten best items of each of its users.

    Args:
        run_directory: of the run.
        output: Parquet file.
        threads: of torch.

    Returns:
        `load_seconds` after the imports, `first_user_seconds`, `all_users_seconds` with the file
        written, and the peak resident memory in bytes after the imports and at the end.
    """
    import numpy as np
    import torch

    from lightning_collab.api.trained_run import load
    from lightning_collab.inference.recommendation import all_recommendations, recommendation_schema
    from lightning_collab.inference.stock import Offer
    from lightning_collab.inference.table_stream import write_stream

    torch.set_num_threads(threads)
    imported = _peak_bytes()
    began = time.perf_counter()
    run = load(run_directory)
    loaded = time.perf_counter()
    user: Any = run.users["user"][0]
    run.recommend(user=user)
    asked = time.perf_counter()
    blocks = all_recommendations(run, 10, "all", Offer(np.empty(0, np.int32), None, 0))
    write_stream(Path(output), blocks, recommendation_schema(run))
    done = time.perf_counter()
    return {
        "load_seconds": loaded - began,
        "first_user_seconds": asked - loaded,
        "all_users_seconds": done - asked,
        "imported_bytes": imported,
        "peak_bytes": _peak_bytes(),
    }


def _peak_bytes() -> int:
    # Not getrusage, whose maximum a process takes over from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kilobytes) * 1024


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))  # noqa: T201
