"""Sections of the config: typed and closed, with one wording for all that is wrong in them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, TypeVar, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import PydanticKnownError

from lightning_collab.config.registry import Registry
from lightning_collab.config.renamed import new_form
from lightning_collab.errors import ConfigError

# Of a count: what an int32 holds.
MOST = 2**31 - 1


class Section(BaseModel):
    """A group of config keys: typed, closed (an unknown key is an error) and read-only."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    # Where its subclasses are found by their names; None: it has no other class than its own.
    chosen_from: ClassVar[Registry | None] = None

    @classmethod
    def class_of(cls, values: Mapping[str, Any]) -> type["Section"]:
        """The class that some values of this section are of: itself, or a subclass they name."""
        name, registry = values.get("name"), cls.chosen_from
        if registry is None or name not in registry:
            return cls
        chosen: type[Section] = registry[str(name)]
        return chosen


AnySection = TypeVar("AnySection", bound=BaseModel)
Chosen = TypeVar("Chosen", bound=Section)


def choose_by_name(base: type[Chosen]) -> Callable[[Any], Chosen]:
    """A validator that makes the config of the part that is named, of its own class.

    The classes need not be known when the type is declared, as in a union of pydantic's.

    Args:
        base: of these classes, with `chosen_from`.
    """
    registry = base.chosen_from
    assert registry is not None

    def chosen(values: Any) -> Chosen:
        if isinstance(values, base):
            return values
        if not isinstance(values, Mapping):
            raise PydanticKnownError("model_attributes_type")
        if "name" not in values:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": "'name'"})
        if values["name"] not in registry:
            context = {
                "discriminator": "'name'",
                "tag": str(values["name"]),
                "expected_tags": ", ".join(map(repr, registry.names)),
            }
            raise PydanticKnownError("union_tag_invalid", context)
        config: Chosen = registry[values["name"]].model_validate(values)
        if not registry.is_ours(values["name"]):
            # A subclass that gives a key another default must not lose its range with that.
            base.model_validate({key: getattr(config, key) for key in base.model_fields})
        return config

    return chosen


def needed(message: str) -> BeforeValidator:
    """Of a key that is null until it is set.

    Args:
        message: what to set.
    """

    def given(value: Any) -> Any:
        if value is None:
            raise ValueError(message)
        return value

    return BeforeValidator(given)


# Of a dictionary that is null until something is in it: Hydra lets null be set to any, as
# `key={a: 1}`, but refuses new keys in one that is there.
EMPTY_IF_NULL = BeforeValidator(lambda value: {} if value is None else value)


def checked(kind: type[AnySection], plain: Any, *, at: str = "") -> AnySection:
    """The typed config of plain values.

    Args:
        kind: what they must look like.
        plain: resolved, nested dictionaries.
        at: the key under which they are typed; empty for a whole config.

    Raises:
        ConfigError: a key that is unknown or missing, a value of the wrong type or out of range,
            or a combination that makes no sense; the message names each key.
    """
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        lines = [_explain(problem, kind, plain, at) for problem in error.errors()]
        raise invalid(*lines) from None


def job_config(kind: type[AnySection], config: DictConfig) -> AnySection:
    """The typed config of a command.

    Args:
        kind: what it must look like.
        config: what Hydra composed.

    Raises:
        ConfigError: see `checked`.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    plain.pop("hydra", None)
    return checked(kind, plain)


def invalid(*lines: str) -> ConfigError:
    """The error that names what is wrong in a config, one line for each problem."""
    return ConfigError("invalid config\n" + "\n".join(f"  {line}" for line in dict.fromkeys(lines)))


def suggestion(wrong: str, known: Sequence[str]) -> str:
    """What was meant, or else what there is."""
    close = get_close_matches(wrong, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known) or 'none'}"


def _explain(problem: Any, kind: type[BaseModel], plain: Any, at: str) -> str:
    """One line for one of pydantic's errors, with the key as it is typed on the command line."""
    keys = _keys_of(problem["loc"], plain)
    name = ".".join([at, *keys] if at else keys)
    value = problem["input"]
    match problem["type"]:
        case "extra_forbidden":
            known = known_keys(kind, keys[:-1], _at(plain, keys[:-1]))
            return new_form(name, value) or f"{name}: unknown key; {suggestion(keys[-1], known)}"
        case "missing":
            return f"{name}: a value is needed"
        case "union_tag_not_found":
            return f"{name}.{_discriminator(problem)}: a value is needed (got {value!r})"
        case "union_tag_invalid":
            return _unknown_choice(f"{name}.{_discriminator(problem)}", problem["ctx"])
    message: str = problem["msg"].removeprefix("Value error, ")
    if not name:
        return message
    if problem["type"] == "value_error" and isinstance(value, Mapping):
        # Of several keys together, which the message names.
        return message if "." in name or not at else f"{name}: {message}"
    renamed = new_form(name, value) if isinstance(value, str) else None
    return renamed or f"{name}: {message[0].lower()}{message[1:]} (got {value!r})"


def _discriminator(problem: Any) -> str:
    return str(problem["ctx"]["discriminator"]).strip("'")


def _unknown_choice(name: str, context: Mapping[str, Any]) -> str:
    tag = str(context["tag"])
    known = [each.strip("' ") for each in str(context["expected_tags"]).split(",")]
    return new_form(name, tag) or f"{name}: {tag!r} is not known; {suggestion(tag, known)}"


def _keys_of(location: tuple[str | int, ...], plain: Any) -> list[str]:
    """Pydantic's location without the names of union members, which are not keys."""
    keys: list[str] = []
    node: Any = plain
    for step in location:
        if isinstance(node, Mapping) and (step in node or step == location[-1]):
            keys.append(str(step))
            node = node.get(step)
    return keys


def _at(plain: Any, path: Sequence[str]) -> Any:
    for key in path:
        plain = plain[key]
    return plain


def known_keys(kind: type[BaseModel], path: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """The keys that the section at a place of a config knows.

    Args:
        kind: of the whole config.
        path: of the section.
        values: of the section, which say of several classes which it is.
    """
    classes, _ = _classes_at(kind, path)
    chosen = [each for each in classes if _chosen_by(each, values)] or classes[:1]
    return [key for each in chosen[:1] for key in _class_of(each, values).model_fields]


def may_be_added(
    kind: type[BaseModel], path: Sequence[str], values: Mapping[str, Any], key: str
) -> bool:
    """Whether a section may have a key that its file in `conf/` does not write out.

    Args:
        kind: of the whole config.
        path: of the section.
        values: of the section.
        key: in question.
    """
    classes, free = _classes_at(kind, path)
    return free or (bool(classes) and key in known_keys(kind, path, values))


def _classes_at(kind: type[BaseModel], path: Sequence[str]) -> tuple[list[type[BaseModel]], bool]:
    """The classes that a section can be of, and whether its keys are names of the user's own."""
    classes, free = [kind], False
    for key in path:
        found = [each.model_fields[key].annotation for each in classes if key in each.model_fields]
        if not found and not free:
            return [], False
        if found:
            for option in found:
                found.extend(get_args(option))
            classes = [o for o in found if isinstance(o, type) and issubclass(o, BaseModel)]
        free = any(get_origin(option) is dict for option in found)
    return classes, free


def _class_of(kind: type[BaseModel], values: Mapping[str, Any]) -> type[BaseModel]:
    return kind.class_of(values) if issubclass(kind, Section) else kind


def _chosen_by(section: type[BaseModel], values: Mapping[str, Any]) -> bool:
    """Whether the values at a place say that they are of a section, by `name` or by `kind`."""
    for key in ("name", "kind"):
        field = section.model_fields.get(key)
        if field is not None and values.get(key) in get_args(field.annotation):
            return True
    return False


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of a nested config with its key as it is typed."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
