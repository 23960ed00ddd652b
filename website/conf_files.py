"""What the files in `conf/` say: options of config groups, their values and comments."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from lightning_collab.config.section import flat

CONF = Path(__file__).parents[1] / "conf"
KEY = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?P<value>.*?)(?:(?:^| +)# (?P<comment>.*))?$")


class Option(NamedTuple):
    """One file of a config group.

    Attributes:
        name: what it is chosen by.
        about: what it says of itself.
        values: of the group's own section, nested.
        comments: by dotted key of the section.
        brings: what it sets elsewhere, as it would be typed.
        chosen: config group -> the option that it has of it.
    """

    name: str
    about: str
    values: dict[str, Any]
    comments: dict[str, str]
    brings: list[str]
    chosen: dict[str, str]

    @property
    def kind(self) -> str:
        """The name that says what type its section is of."""
        return str(self.values.get("name") or self.name)


def options_of(group: str) -> list[Option]:
    """The options of a config group, by name.

    Args:
        group: a folder in `conf/`.
    """
    return [read_option(path) for path in sorted((CONF / group).glob("*.yaml"))]


def read_option(path: Path) -> Option:
    """What a file says, with the files of its group that it is made of.

    Args:
        path: in `conf/`.
    """
    text = path.read_text()
    content: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(path)) or {}  # type: ignore[assignment]
    comments, values = comments_in(text), dict[str, Any]()
    brings, chosen = list[str](), dict[str, str]()
    for each in content.pop("defaults", ()):
        if isinstance(each, str):
            if each != "_self_":
                base = read_option(path.parent / f"{each}.yaml")
                values, comments = _merged(values, base.values), base.comments | comments
            continue
        ((group, choice),) = each.items()
        if group.startswith("override "):
            brings.append(f"{group.removeprefix('override ').lstrip('/')}={choice}")
        elif path.parent == CONF:
            chosen[group] = in_yaml(choice)
        else:
            folder, _, package = group.partition("@")
            part = read_option(path.parent / folder / f"{choice}.yaml")
            at = "" if package else f"{folder}."
            values = _merged(values, part.values if package else {folder: part.values})
            comments = {f"{at}{key}": said for key, said in part.comments.items()} | comments
    if text.startswith("# @package _global_"):
        group = path.parent.name
        own = content.pop(group, None) or {}
        comments = {key.removeprefix(f"{group}."): said for key, said in comments.items()}
        brings += [f"{key}={in_yaml(value)}" for key, value in flat(content)]
        content = own
    return Option(path.stem, _about(text), _merged(values, content), comments, brings, chosen)


def comments_in(text: str) -> dict[str, str]:
    """The comment of each key of a file, by dotted key.

    Args:
        text: YAML, a key a line.
    """
    comments, path, depths = {}, [""], [-1]
    for line in text.splitlines():
        found = KEY.match(line)
        if found is None:
            continue
        while len(found["indent"]) <= depths[-1]:
            path.pop()
            depths.pop()
        path.append(f"{path[-1]}.{found['key']}".lstrip("."))
        depths.append(len(found["indent"]))
        if found["comment"]:
            comments[path[-1]] = found["comment"]
    return comments


def value_at(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key.

    Args:
        values: nested.
        key: dotted.

    Raises:
        KeyError: there is none.
    """
    node: Any = values
    for step in key.split("."):
        if not isinstance(node, Mapping):
            raise KeyError(key)
        node = node[step]
    return node


def in_yaml(value: Any) -> str:
    """A value as it is typed.

    Args:
        value: plain.
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_yaml, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {in_yaml(each)}' for key, each in value.items())}}}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _about(text: str) -> str:
    """The comment at the head of a file."""
    lines = [line for line in text.splitlines() if not line.startswith("# @package")]
    ends = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.removeprefix("#").strip() for line in lines[:ends])


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged: Any = OmegaConf.to_container(OmegaConf.merge(below, above))
    return dict(merged)
