"""`lightning-collab <command> [overrides]`; `python -m lightning_collab` and scripts/ are the same.

Nothing heavy is imported at the top: `--help` answers at once, and each command imports its own.
"""

import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_collab import __version__
from lightning_collab.commands import COMMANDS
from lightning_collab.runs.invocation import called_as, config_path, remember_call

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Hydra's launchers that are packages of their own, and the extra that brings each.
LAUNCHERS = {"joblib": "joblib", "ray": "ray", "ray_aws": "ray"}


@dataclass(frozen=True)
class Task:
    """What Hydra calls with the composed config; launchers can send it to other processes.

    Attributes:
        name: of the command.
        argv: the program's words, the command among them.
    """

    name: str
    argv: tuple[str, ...]

    def __call__(self, config: "DictConfig") -> Any:
        """Run the command; see `lightning_collab.commands.entry.command`."""
        from lightning_collab.commands.entry import command

        # Lightning starts further ranks by these words.
        sys.argv = list(self.argv)
        return command(self._run)(config)

    def _run(self, config: "DictConfig") -> Any:
        module = import_module(f"lightning_collab.commands.{COMMANDS[self.name]}")
        return getattr(module, f"{self.name}_command")(config)


def main() -> None:
    """Run the command that was typed."""
    remember_call()
    words = sys.argv[1:]
    if not words or words[0] in ("--help", "-h"):
        from lightning_collab.commands.help import overview

        sys.stdout.write(overview())
    elif words[0] == "--version":
        sys.stdout.write(f"lightning-collab {__version__}\n")
    elif words[0].replace("-", "_") in COMMANDS:
        run_command(words[0].replace("-", "_"), words[1:])
    else:
        sys.exit(_unknown(words[0]))


def run_script(file: str) -> None:
    """Run the command that a file of scripts/ has its name from.

    Args:
        file: its path.
    """
    remember_call(Path(file))
    run_command(Path(file).stem, sys.argv[1:])


def run_command(name: str, words: Sequence[str]) -> None:
    """Answer `--help` and `--version`, and leave all else to Hydra.

    Args:
        name: of the command.
        words: typed after it.
    """
    if "--help" in words or "-h" in words:
        from lightning_collab.commands.help import help_text

        sys.stdout.write(help_text(name, words))
        return
    if "--version" in words:
        sys.stdout.write(f"lightning-collab {__version__}\n")
        return
    _check_launcher(words)
    import hydra

    from lightning_collab.commands.entry import clear_errors
    from lightning_collab.tuning.sweep import register_resolvers

    register_resolvers()
    task = Task(name, tuple(sys.argv))
    sys.argv = [sys.argv[0], *words]
    # Left to itself Hydra would look beside this file, where each folder is a config group to it.
    place = config_path(name) or "pkg://lightning_collab.commands"
    main = hydra.main(version_base="1.3", config_path=place, config_name=name)(task)
    clear_errors(main)()


def _check_launcher(words: Sequence[str]) -> None:
    for word in words:
        chosen = re.fullmatch(r"\+*hydra/launcher=(\w+)", word)
        extra = LAUNCHERS.get(chosen[1]) if chosen else None
        if extra is not None and find_spec(f"hydra_plugins.hydra_{extra}_launcher") is None:
            sys.exit(f"error: {word} needs: pip install 'lightning-collab[{extra}]'")


def _unknown(word: str) -> str:
    known = [name.replace("_", "-") for name in COMMANDS]
    close = difflib.get_close_matches(word.replace("_", "-"), known, n=1)
    if "=" in word or word.startswith("-"):
        hint = f"type a command first, such as: {called_as('train')} {word}"
    elif close:
        hint = f"did you mean {close[0]!r}?"
    else:
        hint = f"the commands are {', '.join(known)}"
    return f"error: unknown command {word!r}; {hint}"
