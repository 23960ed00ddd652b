"""Examples of docstrings, which griffe knows by another name."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Takes the section `Example` for what griffe calls `Examples`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of each docstring."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("Example:\n", "Examples:\n")
