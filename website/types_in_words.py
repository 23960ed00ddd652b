"""Types of config keys as a reader understands them."""

import inspect
import re
from collections.abc import Iterator
from datetime import date
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

WORDS = {
    NoneType: "`null`",
    int: "integer",
    float: "number",
    str: "text",
    date: "date",
    Any: "anything",
}
BOUNDS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
# Bounds above it only keep numbers within what a computer holds.
FAR = 10_000


def in_words(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """A type in words, values that are typed as code.

    Args:
        annotation: of a field.
        metadata: of it, such as bounds.
    """
    options = list(dict.fromkeys(_options(annotation, metadata)))
    options.sort(key=lambda each: each == "`null`")
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last


def _options(annotation: Any, metadata: tuple[Any, ...]) -> Iterator[str]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _options(inner[0], (*metadata, *inner[1:]))
    elif origin in (Union, UnionType):
        for each in inner:
            yield from _options(each, metadata)
    elif origin is Literal:
        yield from (f"`{each}`" for each in inner)
    elif origin in (list, tuple):
        yield f"list ({in_words(inner[0])})"
    elif annotation is bool:
        yield from ("`true`", "`false`")
    elif sections_in(annotation):
        yield "section"
    elif origin is dict:
        yield "dictionary"
    else:
        yield f"{WORDS[annotation]}{_bounds(metadata) if annotation in (int, float) else ''}"


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a type has in it.

    Args:
        annotation: of a field.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = [each for each in get_args(annotation) if get_origin(annotation) is not Literal]
    return [found for each in inner for found in sections_in(each)]


def comment_of(kind: type[BaseModel], name: str) -> str:
    """What stands above a field in the source of its class.

    Args:
        kind: a section.
        name: of the field.
    """
    for owner in kind.__mro__:
        if name in inspect.get_annotations(owner):
            found = re.search(
                rf"((?:^ +# .*\n)*)^    {name}:", inspect.getsource(owner), re.MULTILINE
            )
            lines = found[1].splitlines() if found else []
            if lines:
                return " ".join(line.strip().removeprefix("# ") for line in lines)
    return ""


def _bounds(metadata: tuple[Any, ...]) -> str:
    plain = [
        each for one in metadata for each in (one.metadata if isinstance(one, FieldInfo) else [one])
    ]
    found = [(*BOUNDS[type(each)], each) for each in plain if type(each) in BOUNDS]
    said = [
        f"{sign} {getattr(each, name):g}"
        for sign, name, each in found
        if abs(getattr(each, name)) <= FAR
    ]
    return f" ({', '.join(said)})" if said else ""
