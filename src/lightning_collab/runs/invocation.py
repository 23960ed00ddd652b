"""How this program was called: for commands that it prints, and for those that it starts."""

import logging
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from lightning_collab.runs.launch import is_first_rank

log = logging.getLogger(__name__)

# What to type for a command, with `%s` for its name. In the environment, so that the processes that
# a command starts print what fits the one that the user has typed.
CALLED_AS = "LIGHTNING_COLLAB_CALLED_AS"
FLAGS_WITH_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")


def remember_call(program: Path | None = None) -> None:
    """Keep how this process was called.

    Args:
        program: the file of scripts/ that was run; None: the console script or `python -m`.
    """
    if program is not None:
        typed = f"{_python_for_a_script()}{_as_typed(program.with_name('%s.py'))}"
    elif Path(sys.argv[0]).name == "__main__.py":
        typed = f"{_as_typed(Path(sys.executable))} -m lightning_collab %s"
    else:
        typed = f"{_as_typed(Path(sys.argv[0]))} %s"
    os.environ.setdefault(CALLED_AS, typed)


def called_as(command: str) -> str:
    """What to type for a command, in the way that this program was called.

    Args:
        command: its name.
    """
    typed = os.environ.get(CALLED_AS, "lightning-collab %s")
    is_file = "%s.py" in typed
    return typed.replace("%s", command.replace("-", "_") if is_file else command.replace("_", "-"))


def command_line(command: str, *words: str, **values: str | Path | int) -> str:
    """A command to paste, quoted for the shell and for Hydra.

    Args:
        command: its name.
        words: further ones, as they are meant.
        values: overrides, whose values are text or whole numbers.
    """
    overrides = [
        f"{key}={value if isinstance(value, int) else hydra_value(str(value))}"
        for key, value in values.items()
    ]
    return " ".join([called_as(command), *(shlex.quote(word) for word in [*words, *overrides])])


def tensorboard_line(folder: Path) -> str:
    """The command that shows the curves below a folder."""
    program = _as_typed(Path(sys.executable).with_name("tensorboard"))
    return f"{program} --logdir {shlex.quote(str(folder))} --host localhost"


def module_command(command: str, overrides: Sequence[str]) -> list[str]:
    """The words that run a command in a process of its own, once, not as a multirun.

    Args:
        command: its name.
        overrides: of the run, instead of those typed; configs are looked for in the same places.
    """
    flags, _ = split_flags(sys.argv[1:])
    return [sys.executable, "-m", "lightning_collab", command, *flags, *overrides]


def split_flags(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Divide what was typed into the flags that say where configs are, and all other words."""
    flags: list[str] = []
    others: list[str] = []
    typed = iter(words)
    for word in typed:
        if word in FLAGS_WITH_VALUE:
            flags += [word, next(typed, "")]
        elif word.startswith(tuple(f"{flag}=" for flag in FLAGS_WITH_VALUE)):
            flags.append(word)
        else:
            others.append(word)
    return flags, others


def hydra_value(text: str) -> str:
    """Text as the value of an override: in quotes where Hydra would read the bare word otherwise.

    Args:
        text: any.
    """
    # Late, for the start-up time of what prints no command.
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        same = OverridesParser.create().parse_override(f"key={text}").value() == text
    except HydraException:
        same = False
    return text if same and " " not in text else quoted(text)


def quoted(text: str) -> str:
    """Text in quotes as Hydra's grammar wants them; double ones, which a shell's quotes can hold.

    Args:
        text: any.
    """
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text=text, quote=Quote.double).with_quotes()


def _as_typed(program: Path) -> str:
    """A program's name where the shell finds it under that, else its path."""
    program = program.absolute()
    found = shutil.which(program.name)
    if found is not None and Path(found).absolute() == program:
        return program.name
    here = Path.cwd()
    return shlex.quote(
        str(program.relative_to(here)) if program.is_relative_to(here) else str(program)
    )


def _python_for_a_script() -> str:
    """The interpreter to type before a script; none where its first line finds the same one."""
    found = shutil.which("python")
    if found is not None and Path(found).parent.absolute() == Path(sys.executable).parent:
        return ""
    return f"{_as_typed(Path(sys.executable))} "


def conf_folder() -> Path:
    """The config groups: the package's own where it is installed, else the repository's."""
    package = Path(__file__).parents[1]
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parents[1] / "conf"


def working_conf_folder() -> Path | None:
    """Further config groups: `./conf` where the program is called; None where there is none."""
    folder = Path.cwd() / "conf"
    return folder if folder.is_dir() and folder.resolve() != conf_folder().resolve() else None


def plugin_conf_folders() -> list[tuple[str, Path]]:
    """The folder `conf/` of each package that offers parts, with the package's name.

    The packages are found and not imported.
    """
    # Late: Hydra asks this module at every start of every program that uses Hydra.
    from lightning_collab.config.registry import packages_of_others

    folders = []
    for package in packages_of_others():
        with suppress(ImportError, ValueError):  # gone, or half installed
            spec = find_spec(package)
            for place in (spec and spec.submodule_search_locations) or ():
                if (Path(place) / "conf").is_dir():
                    folders.append((package, Path(place).absolute() / "conf"))
    return folders


def further_conf_folders() -> list[tuple[str, Path]]:
    """Where config groups are beside ours, in the order of the search, each with whose it is."""
    working = working_conf_folder()
    return [*([("working folder", working)] if working else []), *plugin_conf_folders()]


_said: set[Path] = set()


def say_what_is_shadowed(folders: Iterable[tuple[str, Path]]) -> None:
    """Warn once of files that are not looked at, since one of ours has the same place.

    Args:
        folders: of others, as `further_conf_folders` gives them.
    """
    ours = conf_folder()
    for _, folder in folders:
        files = sorted(path for path in folder.rglob("*.yaml"))
        hidden = [path for path in files if (ours / path.relative_to(folder)).is_file()]
        if hidden and folder not in _said and is_first_rank():
            _said.add(folder)
            others = f", and so are {len(hidden) - 1} others there" if len(hidden) > 1 else ""
            first = ours / hidden[0].relative_to(folder)
            log.warning("%s is ignored: %s comes first%s", hidden[0], first, others)


def config_path(name: str) -> str | None:
    """Where Hydra looks for the config of a command.

    Args:
        name: of the command.
    """
    if name != "report":
        return str(conf_folder())
    # Hydra takes `sweep=...` for a choice from the group conf/sweep wherever it sees that folder,
    # and here it is a key. So this command hands over its two files in place of the folder.
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    store = ConfigStore.instance()
    store.store(name, OmegaConf.load(conf_folder() / f"{name}.yaml"))
    help_file = conf_folder() / "hydra" / "help" / f"{name}.yaml"
    store.store(name, OmegaConf.load(help_file), group="hydra/help")
    return None
