"""Commands of random config, each in a process of its own, which must train a batch or be refused.

    python tests/support/random_commands.py 1000 --seed 1

runs so many accepted ones (those whose config is refused are not counted) and says what was wrong
with which.
"""

import argparse
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from bounds import numbers
from support import CONF, composed

from lightning_collab import cli
from lightning_collab.config import validated
from lightning_collab.config.section import Section
from lightning_collab.errors import ConfigError

MOST_SECONDS = 30.0
# Of a size; larger ones take as long, and as much memory, as they say.
LARGEST = 1000
SIZES = ("factors", "hidden", "embedding", "samples")
GROUPS = (
    *("model", "loss", "optimizer", "scheduler", "averaging", "features", "split", "metrics"),
    *("callbacks", "training"),
)
# One batch of a small table, and nothing that is shown.
TINY = {
    "data": "synthetic", "data.ratings": "400", "data.users": "40", "data.items": "30",
    "data.batch_size": "64", "data.timestamps": "true", "trainer.max_epochs": "1",
    "trainer.limit_train_batches": "1", "logger": "none", "callbacks.report": "null",
    "callbacks.projector": "null", "callbacks.progress_bar": "false",
}  # fmt: skip
# What says how long it takes, needs another machine, or is a file.
LEFT_ALONE = {
    *("data.ratings", "data.users", "data.items", "trainer.max_epochs", "trainer.max_steps"),
    *("trainer.min_epochs", "trainer.min_steps", "trainer.devices", "trainer.num_nodes"),
    *("trainer.limit_train_batches", "trainer.strategy", "trainer.accelerator", "trainer.threads"),
    *("model.burn_in", "model.samples", "trainer.precision", "model.iterations"),
}


class Ending(NamedTuple):
    """How a command ended.

    Attributes:
        code: its exit code; None: it was still running after `MOST_SECONDS`.
        said: what it wrote.
        seconds: that it took.
    """

    code: int | None
    said: str
    seconds: float

    @property
    def is_wrong(self) -> bool:
        """Neither trained nor refused in words of ours."""
        refused = self.code == 1 and "error: " in self.said
        return "Traceback" in self.said or not (self.code == 0 or refused)


def random_words(draw: random.Random) -> list[str]:
    """What is typed behind `train`."""
    words = dict(TINY)
    for group in GROUPS:
        if draw.random() < 0.35:
            words[group] = draw.choice(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
    if words.get("optimizer") == "torch":
        words["optimizer.class_name"] = draw.choice(["RMSprop", "NAdam", "Adagrad"])
    if "loss" in words or words.get("model") == "implicit_least_squares":
        words["metrics.top_k"] = "[2]"
    typed = [f"{key}={value}" for key, value in words.items()]
    try:
        config = validated(composed(*typed))
    except ConfigError:
        return typed
    leaves = [each for each in _leaves(config) if each[0] not in {*LEFT_ALONE, *words}]
    for key, annotation, metadata in draw.sample(leaves, min(len(leaves), draw.randrange(5))):
        value = _value(draw, annotation, metadata)
        if any(size in key for size in SIZES) and value and value.isdigit():
            value = str(min(int(value), LARGEST))
        if value is not None:
            typed.append(f"++{key}={value}")
    return typed


def _leaves(config: Section, above: str = "") -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", field.annotation, tuple(field.metadata)


def _value(draw: random.Random, annotation: Any, metadata: tuple[Any, ...]) -> str | None:
    kinds = list(numbers(annotation, metadata))
    if kinds:
        kind, bounds = draw.choice(kinds)
        return repr(_number(draw, kind, bounds))
    if annotation is bool:
        return draw.choice(["true", "false"])
    options = [
        option
        for each in (annotation, *get_args(annotation))
        if get_origin(each) is Literal
        for option in get_args(each)
    ]
    return str(draw.choice(options)) if options else None


def _number(draw: random.Random, kind: type, bounds: list[Any]) -> float | int:
    low, high = -1e30, 1e30
    for bound in bounds:
        for end in ("ge", "gt"):
            if isinstance(limit := getattr(bound, end, None), int | float):
                low = float(limit)
        for end in ("le", "lt"):
            if isinstance(limit := getattr(bound, end, None), int | float):
                high = float(limit)
    if draw.random() < 0.2:
        found = draw.choice([low, high])
    elif low >= 0:
        # Of any order of magnitude.
        least = max(low, min(1e-9, high), sys.float_info.min)
        found = math.exp(draw.uniform(math.log(least), math.log(max(high, least))))
    else:
        found = draw.uniform(max(low, -1e3), min(high, 1e3))
    return int(found) if kind is int else found


def run_command(words: list[str], folder: Path) -> Ending:
    """Train as a person would, in a process that shares only what is imported."""
    output = folder / "output.txt"
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(folder)
        with output.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        code = 70
        try:
            sys.argv = ["lightning-collab", "train", *words]
            cli.main()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    while time.monotonic() < began + MOST_SECONDS:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            said = output.read_text(errors="replace")
            return Ending(os.waitstatus_to_exitcode(status), said, time.monotonic() - began)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return Ending(None, output.read_text(errors="replace"), MOST_SECONDS)


def wrong_commands(count: int, seed: int) -> tuple[list[tuple[list[str], Ending]], int, int]:
    """Run commands until so many configs were accepted.

    Returns:
        Those that ended wrongly, how many trained, and how many were tried in all.
    """
    import lightning_collab.api.training  # noqa: F401 - imported once for all of them

    draw = random.Random(seed)
    wrong: list[tuple[list[str], Ending]] = []
    accepted = tried = trained = 0
    while accepted < count:
        words = random_words(draw)
        tried += 1
        try:
            validated(composed(*words))
            accepted += 1
        except ConfigError:
            # Most are refused so; a few of them are run all the same.
            if draw.random() > 0.05:
                continue
        with tempfile.TemporaryDirectory() as folder:
            ending = run_command(words, Path(folder))
        trained += ending.code == 0
        if ending.is_wrong:
            wrong.append((words, ending))
    return wrong, trained, tried


def main() -> None:
    """Say what was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    wrong, trained, tried = wrong_commands(asked.count, asked.seed)
    for words, ending in wrong:
        print(" ".join(words), f"\n  {ending.code}, {ending.seconds:.1f} s")
        print("    " + "\n    ".join(ending.said.splitlines()[-12:]))
    print(f"{asked.count} accepted of {tried}, {trained} trained, {len(wrong)} ended wrongly")


if __name__ == "__main__":
    main()
