"""What a run leaves behind, where in it, and names that tell runs apart."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_collab.config import RunConfig, validated
from lightning_collab.config.plugins import (
    check_installed,
    refuse_class_paths,
    refuse_interpolations,
)
from lightning_collab.config.renamed import with_new_names
from lightning_collab.errors import CheckpointError
from lightning_collab.runs.files import write_atomically


class RunDirectory:
    """The places in a run directory.

    Args:
        path: of the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # The resolved config: the run's truth.
        self.config_file = path / "config.yaml"
        # The final numbers, flat.
        self.metrics_file = path / "metrics.json"
        # What was said.
        self.log_file = path / "train.log"
        # best.ckpt, last.ckpt, cycle-<n>.ckpt.
        self.checkpoints = path / "checkpoints"
        # Of the epoch with the best validation metric.
        self.best_checkpoint = self.checkpoints / "best.ckpt"
        # The checkpoint to continue from.
        self.last_checkpoint = self.checkpoints / "last.ckpt"
        # Rows of users and items without training ratings, and the map that they are made by.
        self.cold_file = self.checkpoints / "cold_rows.pt"
        # TensorBoard's event files.
        self.tensorboard = path / "tensorboard"
        # The table of curves of logger=csv.
        self.csv = path / "csv"
        # The database of logger=mlflow.
        self.mlflow = path / "mlflow.db"
        # Under which names wandb and mlflow know the run, for a resume to go on there.
        self.logger_ids = path / "loggers.json"
        # What is known of each item: features, number and mean of its training ratings.
        self.items_file = path / "items.parquet"
        # What is known of each user: features, number and mean of the training ratings.
        self.users_file = path / "users.parquet"
        # Who rated what, held-out ratings too.
        self.history_file = path / "history.parquet"
        # Pictures.
        self.figures = path / "figures"
        # The page that shows the run.
        self.report_file = path / "report.html"

    def check_new(self) -> None:
        """Refuse to begin a run where there is one, whose checkpoints it would overwrite.

        Raises:
            CheckpointError: there are checkpoints in the directory.
        """
        if any(self.checkpoints.glob("*.ckpt")):
            raise CheckpointError(
                f"{self.path}: a trained run is already there; continue it with "
                f"resume={self.path} (in Python: lightning_collab.load({str(self.path)!r})"
                ".resume()), or remove it, or set hydra.run.dir (in Python: run_dir) to another "
                "folder"
            )

    def remove_unstarted(self) -> None:
        """Leave no directory of a run that failed before it began."""
        if self.path.resolve() == Path.cwd():
            return  # a command that only asks has no directory of its own
        if self.path.is_dir() and {each.name for each in self.path.iterdir()} <= {"train.log"}:
            self.log_file.unlink(missing_ok=True)
            self.path.rmdir()

    def read_config(self) -> RunConfig:
        """The config that the run was made with.

        Raises:
            CheckpointError: this is not a run directory.
            ConfigError: the config is of another version, or a part of it is of a package that is
                not installed.
        """
        saved = self.read_plain_config()
        check_installed(saved, self.config_file)
        return validated(saved)

    def read_plain_config(self) -> dict[str, Any]:
        """The config that the run was made with, by the names of today, not checked.

        Raises:
            CheckpointError: this is not a run directory.
            ConfigError: it names a class by its path, or has an interpolation in it.
        """
        try:
            content = yaml.safe_load(self.config_file.read_text("utf-8"))
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: not a run directory (it has no readable config.yaml)"
            ) from error
        except UnicodeDecodeError as error:
            raise CheckpointError(
                f"{self.config_file}: not text in UTF-8: byte {error.start + 1} is "
                f"0x{error.object[error.start]:02x}"
            ) from error
        except yaml.YAMLError as error:
            raise CheckpointError(f"{self.config_file}: not readable as YAML: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{self.config_file}: not a config")
        refuse_class_paths(content, self.config_file)
        refuse_interpolations(content, self.config_file)
        return with_new_names(content)

    def write_config(self, config: RunConfig) -> None:
        """Keep the config of the run, whole or not at all."""
        write_atomically(
            self.config_file,
            yaml.safe_dump(config.as_kept().model_dump(mode="json"), sort_keys=False),
        )

    def read_metrics(self) -> dict[str, Any]:
        """The final numbers.

        Raises:
            CheckpointError: the run has not ended, or the file is not what was written.
        """
        try:
            metrics: dict[str, Any] = json.loads(self.metrics_file.read_text())
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: no metrics.json; the run has not finished"
            ) from error
        except ValueError as error:
            raise CheckpointError(f"{self.metrics_file}: not readable as JSON: {error}") from error
        plain = isinstance(metrics, dict) and all(
            each is None or isinstance(each, str | int | float) for each in metrics.values()
        )
        if not plain:
            raise CheckpointError(
                f"{self.metrics_file}: not the metrics of a run, which have one number for each "
                "name"
            )
        return metrics

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Keep the final numbers, whole or not at all."""
        write_atomically(self.metrics_file, json.dumps(metrics, indent=2) + "\n")


LONGEST_LABEL = 48
# Typed, and no part of what a run is.
NOT_TOLD = re.compile(r"\+*(hydra[./]|resume=|logger|callbacks|metrics|data\.root=|init_from=)")


def label_of(typed: Sequence[str]) -> str:
    """What was typed, as a part of a folder's name that no shell has to quote.

    Args:
        typed: overrides; of a key its last part is told, of a group the option alone.
    """
    words = []
    for each in typed:
        key, _, value = each.lstrip("+~").partition("=")
        if NOT_TOLD.match(each) or not value:
            continue
        words.append(f"{key.rpartition('.')[2]}-{value}" if "." in key or key == "seed" else value)
    plain = re.sub(r"[^\w.]+", "-", "_".join(words), flags=re.ASCII)
    return plain.strip("-.")[:LONGEST_LABEL]


def run_suffix(model: str | None, loss: str | None, typed: Sequence[str] = ()) -> str:
    """What follows the time in the name of a run: model, loss and what was typed.

    Args:
        model: its name.
        loss: its name; the usual one, squared_error, is not told.
        typed: further overrides.
    """
    chosen = [name for name in (model, loss) if name not in (None, "squared_error")]
    return "".join(f"_{each}" for each in (*chosen, label_of(typed)) if each)


def board_name(name: str) -> str:
    """What a scalar is called on TensorBoard, where groups are sorted by their names.

    Args:
        name: that other loggers know.
    """
    return name if name.startswith(("train/", "val/", "test/")) else f"train/{name}"


def name_of_board(tag: str) -> str:
    """The name of a scalar that is called so on TensorBoard."""
    inner = tag.removeprefix("train/")
    return inner if "/" in inner or inner.startswith("lr-") else tag


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Keys of a config by their last parts, as many as tell each from the others.

    Args:
        keys: with dots.
    """
    parts = {key: key.split(".") for key in keys}

    def shortest(key: str) -> str:
        for count in range(1, len(parts[key])):
            ending = parts[key][-count:]
            if sum(other[-count:] == ending for other in parts.values()) == 1:
                return ".".join(ending)
        return key

    return {key: shortest(key) for key in parts}
