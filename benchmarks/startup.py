"""How long a person waits before anything happens, each time in a fresh process."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.processes import ROOT
from lightning_collab.config.compose import composed_run
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.run import train

TRAIN = str(ROOT / "scripts" / "train.py")
QUIET = ("callbacks.progress_bar=false", "callbacks.projector=null", "logger=none")
# Ends the process when any optimizer has taken its first step, whatever the engine.
FIRST_STEP = """
import os, runpy, sys
from torch.optim.optimizer import register_optimizer_step_post_hook

register_optimizer_step_post_hook(lambda *_: os._exit(0))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
os._exit(1)
"""
AIMS = {"startup/help_seconds": "below 2"}


def run(repeats: int) -> dict[str, float]:
    """Measure each of them in turn, `repeats` times.

    Args:
        repeats: fresh processes of each kind, of which medians are taken.

    Returns:
        Seconds of whole processes: `startup/..._seconds` for an empty interpreter (`python`), the
        import of this package (`import_lightning_collab`), of torch and of Lightning alone
        (`import_torch`, `import_pytorch_lightning`), `--help` (`help`), a trained run loaded
        (`load`) and the first optimizer step of the default run (`first_step`); and
        `startup/..._over_lightning`, the medians of paired ratios to the import of Lightning.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained = _trained(folder / "trained")
        kinds: dict[str, list[str]] = {
            "python": ["-c", ""],
            "import_lightning_collab": ["-c", "import lightning_collab"],
            "import_torch": ["-c", "import torch"],
            "import_pytorch_lightning": ["-c", "import pytorch_lightning"],
            "help": [TRAIN, "--help"],
            "load": ["-c", f"import lightning_collab; lightning_collab.load({str(trained)!r})"],
        }
        seconds: dict[str, list[float]] = {kind: [] for kind in (*kinds, "first_step")}
        for number in range(repeats):
            for kind, arguments in kinds.items():
                seconds[kind].append(process_seconds(*arguments))
            run_dir = f"hydra.run.dir={folder / str(number)}"
            seconds["first_step"].append(process_seconds("-c", FIRST_STEP, TRAIN, run_dir, *QUIET))
    return summary(seconds)


def summary(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Medians, and medians of ratios within each round.

    Args:
        seconds: by kind, one number for each round.
    """
    result = {f"startup/{kind}_seconds": statistics.median(each) for kind, each in seconds.items()}
    lightning = seconds["import_pytorch_lightning"]
    for kind in ("help", "load", "first_step"):
        result[f"startup/{kind}_over_lightning"] = statistics.median(
            one / other for one, other in zip(seconds[kind], lightning, strict=True)
        )
    return result


def process_seconds(*arguments: str) -> float:
    """Seconds from the start to the end of a Python process.

    Args:
        arguments: of the interpreter.

    Raises:
        CalledProcessError: it failed.
    """
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def _trained(path: Path) -> Path:
    """A small trained run."""
    path.mkdir()
    config = composed_run("data=synthetic", "data.ratings=10000", "trainer.max_epochs=1", *QUIET)
    run = RunDirectory(path)
    train(config, run)
    return path
