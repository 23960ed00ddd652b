"""Installed packages that offer parts: files as pip leaves them, in a folder of `sys.path`."""

from pathlib import Path
from textwrap import dedent


def install(folder: Path, name: str, version: str, modules: dict, entry_points: dict) -> None:
    """Write a package's modules and what its distribution says.

    Args:
        folder: of `sys.path`.
        name: of the distribution.
        version: of it.
        modules: file name -> text.
        entry_points: group, without `lightning_collab.` -> name -> "module:Class".
    """
    for file, text in modules.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[lightning_collab.{group}]", *(f"{k} = {v}" for k, v in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))
