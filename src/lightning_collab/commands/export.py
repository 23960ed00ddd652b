"""The command export: a trained model for use elsewhere."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from lightning_collab.api.trained_run import load
from lightning_collab.config.commands import ExportConfig
from lightning_collab.config.section import job_config
from lightning_collab.inference.export.export_run import export_run
from lightning_collab.training.console import say_file


def export_command(config: DictConfig) -> list[Path]:
    """Export the run that the config names, and say what was written.

    Args:
        config: of conf/export.yaml.

    Returns:
        The files: the model, its vocabularies and its card.

    Raises:
        ConfigError: such an export exists already.
        ExportError: a package is missing, or the format cannot hold the model.
        StorageError: the files cannot be written.
    """
    asked = job_config(ExportConfig, config)
    run = load(asked.run, asked.checkpoint)
    folder = run.directory.path / f"export_{asked.format}"
    if asked.output is not None:
        folder = Path(asked.output)
    with Console(stderr=True).status(f"exporting {run.model_name} as {asked.format}"):
        files = export_run(run, asked.format, folder, overwrite=asked.overwrite)
    for label, path in zip(("model", "ids", "card"), files, strict=True):
        say_file(label, path, f"  ({path.stat().st_size / 1e6:.2f} MB)")
    return files
