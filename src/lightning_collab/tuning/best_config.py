"""The best trial as an experiment: what differs from the script's own defaults."""

from collections.abc import Mapping
from typing import Any

import yaml

from lightning_collab.tuning.composition import Composer, plain

# Of the machine or of looking on, not of what is trained.
LEFT_OUT = ("logger", "callbacks.progress_bar", "data.root")


def experiment_yaml(composer: Composer, overrides: Mapping[str, Any], comment: str) -> str:
    """A file for conf/experiment that gives the config of a trial.

    It names the menu options that are not the default's, and sets each key that then still
    differs.

    Args:
        composer: made the trial's config.
        overrides: of the trial: config key or group -> value.
        comment: where this comes from.
    """
    defaults = composer.without_fixed()
    usual = defaults.options({})
    options = {
        group: option
        for group, option in composer.options(overrides).items()
        if group not in ("experiment", "sweep") and option != usual.get(group) and "@" not in group
    }
    wanted = plain(composer.compose(overrides))
    differing = _differing(wanted, plain(defaults.compose(options)))
    lines = [f"# {line}" for line in comment.splitlines()]
    content: dict[str, Any] = {}
    if options:
        content["defaults"] = [
            *({f"override /{group}": option} for group, option in options.items()),
            "_self_",
        ]
    content |= differing
    body = yaml.safe_dump(content, sort_keys=False) if content else ""
    return "\n".join(["# @package _global_", *lines, body])


def _differing(
    wanted: Mapping[str, Any], base: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in wanted.items():
        path = f"{prefix}{key}"
        if path in LEFT_OUT or (key in base and base[key] == value):
            continue
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            inner = _differing(value, base[key], f"{path}.")
            if inner:
                result[key] = inner
        else:
            result[key] = value
    return result
