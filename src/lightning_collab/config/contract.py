"""What a custom class must be, for each kind of part, in one place."""

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import Any

GUIDE = "docs/extending.md has an example of each kind"


def class_at(place: str) -> Any:
    """A class or function of ours by its place.

    Args:
        place: "module:Class".
    """
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class Contract:
    """What a class must be to be registered.

    Attributes:
        base: place of the class that it must derive from.
        methods: as they are called, such as `rate(rows, batch, effects)`.
        config: place of the class that its `config_class` must derive from; None: it has none,
            or is a config itself.
        further: place of a function from the class to what else is wrong with it.
    """

    base: str
    methods: tuple[str, ...] = ()
    config: str | None = None
    further: str | None = None

    def broken_by(self, part: Any) -> list[str]:
        """What a class lacks, a line each."""
        base = class_at(self.base)
        if not (isinstance(part, type) and issubclass(part, base)):
            return [f"it must be a subclass of {self.base.replace(':', '.')}, and is {part!r}"]
        lines = [line for method in self.methods for line in _method(part, base, method)]
        if self.config is not None:
            wanted, config = class_at(self.config), getattr(part, "config_class", None)
            if not (isinstance(config, type) and issubclass(config, wanted)):
                where = self.config.replace(":", ".")
                lines.append(f"config_class must be a subclass of {where}, and is {config!r}")
        if self.further is not None and not lines:
            lines += class_at(self.further)(part)
        return lines


def _method(part: type, base: type, method: str) -> list[str]:
    """What is wrong with one method, if anything."""
    name, _, rest = method.partition("(")
    own = getattr(part, name, None)
    if name != "__init__" and (own is None or own is getattr(base, name, None)):
        return [f"it has no {method}"]
    before, _, after = rest.rstrip(")").partition("*")
    positional = [each for each in before.split(", ") if each]
    keywords = [each for each in after.split(", ") if each]
    try:
        inspect.signature(own).bind(part, *positional, **dict.fromkeys(keywords))  # type: ignore[arg-type]
    except TypeError as error:
        return [f"{name} cannot be called as {method}: {error}"]
    return []
