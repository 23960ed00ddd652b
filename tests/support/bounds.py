"""The bounds of a number in the config's types."""

import types
from typing import Annotated, Any, Union, get_args, get_origin


def numbers(annotation: Any, metadata: tuple[Any, ...] = ()) -> list[tuple[type, list[Any]]]:
    """The numeric types within an annotation, each with what bounds it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return numbers(inner, (*metadata, *more))
    if origin in (Union, types.UnionType):
        return [found for each in get_args(annotation) for found in numbers(each, metadata)]
    if annotation in (int, float):
        flat = []
        for each in metadata:
            flat += getattr(each, "metadata", [each])
        return [(annotation, flat)]
    return []
