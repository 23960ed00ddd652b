"""What may be typed beside `resume`: each key is either honored or refused."""

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_collab.config.run import RunConfig
from lightning_collab.config.section import invalid

# Sections and keys with which a run continues as they are typed.
HONOURED = (
    *("trainer", "training", "scheduler", "optimizer", "logger", "callbacks", "metrics"),
    *("model.sharding", "model.embedding_dropout", "model.hidden_dropout"),
    # Where the ratings are now; that they are those of the run is seen when they are read.
    *("data.root", "data.path", "data.val_path", "data.test_path"),
    *("data.users_path", "data.items_path", "data.cache"),
    # Of a frame, what is known of it once it is read; a record of packages.
    *("data.fingerprint", "data.rows", "plugins"),
)
# Sections and keys that belong to the whole run, and why; the longest that fits holds.
REFUSED = {
    "seed": "the weights and orders of the run were drawn with it",
    "data": "the run was trained on its ratings, and counts its steps in batches of them",
    "split": "it says which ratings are tested, and the run must not have been trained on these",
    "features": "the model was made for its features",
    "model": "the checkpoint is of the model as it was made",
    "loss": "the run is measured by it from its first epoch on",
    "optimizer.name": "the checkpoint has the state of another optimizer",
    "optimizer.class_name": "the checkpoint has the state of another optimizer",
    "optimizer.sparse": "the checkpoint has the state of another optimizer",
    **{
        f"optimizer.groups.{group}.{side}": "the checkpoint has the state of these groups as they "
        "were formed"
        for group in ("embeddings", "biases")
        for side in ("users", "items")
    },
    "averaging": "the checkpoint has the averages, or none, of the steps before",
    "callbacks.monitor": "best.ckpt of the epochs before was chosen by another metric",
    "lr_range_test": "it applies only at the start of a run",
    "find_lr": "it applies only at the start of a run",
    "init_from": "it applies only at the start of a run",
}

ABSENT = "not there"


def check_resumed(saved: Mapping[str, Any], asked: RunConfig) -> None:
    """Refuse to continue with what would make it another run.

    Args:
        saved: the run's own config as plain values; of an earlier version it may lack keys.
        asked: the config to continue with.

    Raises:
        ConfigError: a key differs that the run cannot continue with; the message names each.
    """
    before = dict(_leaves(saved))
    after = dict(_leaves(asked.as_kept().model_dump(mode="json")))
    lines = []
    for key in dict.fromkeys([*after, *before]):
        known = before.get(key, ABSENT if _emptied(key, before) else after.get(key))
        if known == after.get(key, ABSENT if _emptied(key, after) else known):
            continue
        reason = why_refused(key)
        if reason is not None:
            was = "null" if known is None else known
            lines.append(
                f"{key}: {was} in the run, and cannot be changed on resume, since {reason}; leave "
                "it out, or train a new run"
            )
    if lines:
        raise invalid(*lines)


def why_refused(key: str) -> str | None:
    """Why a run cannot continue with another value of a key; None where it can.

    Args:
        key: of the config, with dots.

    Raises:
        KeyError: nothing is said of such a key.
    """
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in REFUSED:
            return REFUSED[name]
        if name in HONOURED:
            return None
    raise KeyError(key)


def _emptied(key: str, leaves: Mapping[str, Any]) -> bool:
    """Whether a section above a key is there, and empty: the key is not one of another version."""
    parts = key.split(".")
    return any(leaves.get(".".join(parts[:end])) == {} for end in range(1, len(parts)))


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each key with dots, and its value; what is empty counts as a value."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
