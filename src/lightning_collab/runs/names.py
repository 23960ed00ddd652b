"""Names that tell runs apart: of their folders, and of their scalars on TensorBoard."""

import re
from collections.abc import Iterable, Sequence

LONGEST_LABEL = 48
# Typed, and no part of what a run is.
NOT_TOLD = re.compile(r"\+*(hydra[./]|resume=|logger|callbacks|metrics|data\.root=|init_from=)")


def label_of(typed: Sequence[str]) -> str:
    """What was typed, as a part of a folder's name that no shell has to quote.

    Args:
        typed: overrides; of a key its last part is told, of a group the option alone.
    """
    words = []
    for each in typed:
        key, _, value = each.lstrip("+~").partition("=")
        if NOT_TOLD.match(each) or not value:
            continue
        words.append(f"{key.rpartition('.')[2]}-{value}" if "." in key or key == "seed" else value)
    plain = re.sub(r"[^\w.]+", "-", "_".join(words), flags=re.ASCII)
    return plain.strip("-.")[:LONGEST_LABEL]


def run_suffix(model: str | None, loss: str | None, typed: Sequence[str] = ()) -> str:
    """What follows the time in the name of a run: model, loss and what was typed.

    Args:
        model: its name.
        loss: its name; the usual one, squared_error, is not told.
        typed: further overrides.
    """
    chosen = [name for name in (model, loss) if name not in (None, "squared_error")]
    return "".join(f"_{each}" for each in (*chosen, label_of(typed)) if each)


def board_name(name: str) -> str:
    """What a scalar is called on TensorBoard, where groups are sorted by their names.

    Args:
        name: that other loggers know.
    """
    return name if name.startswith(("train/", "val/", "test/")) else f"train/{name}"


def name_of_board(tag: str) -> str:
    """The name of a scalar that is called so on TensorBoard."""
    inner = tag.removeprefix("train/")
    return inner if "/" in inner or inner.startswith("lr-") else tag


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Keys of a config by their last parts, as many as tell each from the others.

    Args:
        keys: with dots.
    """
    parts = {key: key.split(".") for key in keys}

    def shortest(key: str) -> str:
        for count in range(1, len(parts[key])):
            ending = parts[key][-count:]
            if sum(other[-count:] == ending for other in parts.values()) == 1:
                return ".".join(ending)
        return key

    return {key: shortest(key) for key in parts}
