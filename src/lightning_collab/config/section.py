"""Sections of the config: typed and closed, with one wording for all that is wrong in them."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, ValidationError

from lightning_collab.errors import ConfigError


class Section(BaseModel):
    """A group of config keys: typed, closed (an unknown key is an error) and read-only."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


AnySection = TypeVar("AnySection", bound=Section)


def job_config(kind: type[AnySection], config: DictConfig) -> AnySection:
    """The typed config of a script.

    Args:
        kind: what it must look like.
        config: what Hydra composed.

    Raises:
        ConfigError: a value of the wrong type or out of range, or a combination that makes no
            sense; the message names each key.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    plain.pop("hydra", None)
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = _key(problem["loc"], plain)
            message = problem["msg"].removeprefix("Value error, ")
            line = f"{key}: {message[0].lower()}{message[1:]} (got {problem['input']!r})"
            line = line if key else message
            if line not in lines:
                lines.append(line)
        raise ConfigError("invalid config\n" + "\n".join(f"  {line}" for line in lines)) from None


def _key(location: tuple[str | int, ...], plain: Any) -> str:
    """Pydantic's location without the names of union members, which are not keys."""
    keys: list[str] = []
    for step in location:
        if isinstance(plain, dict) and (step in plain or step == location[-1]):
            keys.append(str(step))
            plain = plain.get(step)
    return ".".join(keys)


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of a nested config with its key as it is typed."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
