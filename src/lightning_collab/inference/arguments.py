"""Arguments as people give them in Python, refused in words where they are of another kind."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch

from lightning_collab.config.section import suggestion
from lightning_collab.errors import ConfigError, shape_of
from lightning_collab.inference.lookup import RawIds


def whole(key: str, given: Any, least: int | None = None) -> int:
    """A whole number.

    Args:
        key: the argument's name.
        given: its value.
        least: the lowest that it may be; None: any.

    Raises:
        ConfigError: it is none, or below that.
    """
    if isinstance(given, bool) or not isinstance(given, Integral):
        raise ConfigError(f"{key}: must be a whole number (got {shape_of(given)})")
    if least is not None and given < least:
        raise ConfigError(f"{key}: at least {least} is needed (got {given})")
    return int(given)


def one_of(key: str, given: Any, known: Sequence[str]) -> None:
    """Refuse what is none of some words.

    Args:
        key: the argument's name.
        given: its value.
        known: the words.

    Raises:
        ConfigError: it is another.
    """
    if not isinstance(given, str) or given not in known:
        raise ConfigError(f"{key}: there is no {shape_of(given)}; {suggestion(str(given), known)}")


def is_id(given: Any) -> bool:
    """Whether it is one id, right or wrong, and no list of them."""
    return isinstance(given, str | int | float | np.generic)


def ids_in(key: str, given: Any) -> RawIds:
    """Ids as a column, an array or a list; a single one is a list of it.

    Args:
        key: the argument's name.
        given: its value.

    Raises:
        ConfigError: it is something else.
    """
    if is_id(given):
        return [given]
    # What has columns is a table.
    refused = isinstance(given, bytes | Mapping) or hasattr(given, "columns")
    if refused or not isinstance(given, Iterable):
        raise ConfigError(
            f"{key}: must be an id, or a list, array or column of ids, not "
            f"{'None' if given is None else f'a {type(given).__name__}'}"
        )
    return given.tolist() if isinstance(given, torch.Tensor) else given
