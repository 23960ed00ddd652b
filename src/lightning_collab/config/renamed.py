"""Keys and values that once had another name: old -> new, for saved runs and for whoever types.

A run's own config.yaml is read by its new names; on the command line the old one is answered with
the new one.
"""

import copy
from collections.abc import Mapping
from typing import Any

KEYS = {
    "model.joint_links": "model.joint_regression",
    "training.untouched_rows": "training.row_updates",
}
# By the new name of the key.
VALUES: dict[str, dict[str, str]] = {
    "optimizer.decay": {"touched_rows": "per_row"},
    "split.name": {"given": "predefined"},
    "training.row_updates": {"exact": "dense"},
}

# Keys that were added with a default that is not what runs did before.
ADDED: dict[str, dict[str, Any]] = {
    # A column of weights that a run has not read is none of its.
    "data.columns": {"weight": None}
}


def new_form(name: str, value: Any) -> str | None:
    """What to type in place of an old name; None where nothing in it has been renamed.

    Args:
        name: of a key or config group.
        value: of it.
    """
    if name == "logger.name":
        return f"{name}={value} is now logger={value}"
    key = KEYS.get(name, name)
    group = key.removesuffix(".name")
    values = VALUES.get(key) or VALUES.get(f"{key}.name", {})
    old = str(value)
    new = values.get(old, old)
    if key == name and new == old:
        return None
    return f"{group if key == name else name}={old} is now {group}={new}"


def with_new_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A saved config with the names of today.

    Args:
        config: of a run, as plain values.
    """
    result = copy.deepcopy(dict(config))
    for old, new in KEYS.items():
        section, key = _place(result, old)
        if key in section:
            into, new_key = _place(result, new)
            into.setdefault(new_key, section.pop(key))
    for name, values in VALUES.items():
        section, key = _place(result, name)
        if isinstance(section.get(key), str):
            section[key] = values.get(section[key], section[key])
    for name, keys in ADDED.items():
        section, key = _place(result, name)
        if isinstance(section.get(key), dict):
            section[key] = {**keys, **section[key]}
    logger = result.get("logger")
    if isinstance(logger, dict) and isinstance(logger.get("name"), str):
        # Of the time when there was one at most.
        name = logger.pop("name")
        result["logger"] = {} if name == "none" else {name: logger}
    return result


def _place(config: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The section that a key is in, or an empty one where it is not there; and its last name."""
    *path, key = name.split(".")
    node: Any = config
    for step in path:
        node = node.get(step) if isinstance(node, dict) else None
    return (node if isinstance(node, dict) else {}), key
