"""Each number of the config has bounds, and within them a run trains or says what is wrong."""

import math
from typing import get_args

import annotated_types
import pytest
from bounds import numbers
from support import composed

from lightning_collab.config import validated
from lightning_collab.config.commands import MapConfig, RecommendConfig
from lightning_collab.config.registry import LOSSES, MODELS, SCHEDULERS, SOURCES, SPLITS
from lightning_collab.config.run import RunConfig
from lightning_collab.config.section import Section
from lightning_collab.data.sources import load_ratings
from lightning_collab.errors import ConfigError, DataError, LightningCollabError
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.run import train

# What is no setting: filled in by us, or ends of a scale that any data may have.
FREE = {
    *("rows", "rating_range", "start", "end", "val", "test", "liked", "positives", "ratings"),
    *("user", "items", "top_k"),
}


def sections() -> list[type[Section]]:
    found: list[type[Section]] = []

    def add(kind: type[Section]) -> None:
        if kind in found:
            return
        found.append(kind)
        for field in kind.model_fields.values():
            for each in (field.annotation, *get_args(field.annotation)):
                if isinstance(each, type) and issubclass(each, Section):
                    add(each)

    kinds = [RunConfig, MapConfig, RecommendConfig]
    for registry in (MODELS, LOSSES, SPLITS, SCHEDULERS, SOURCES):
        kinds += [registry[name] for name in registry.names if registry.is_ours(name)]
    for kind in kinds:
        add(kind)
    return found


def test_every_number_has_both_bounds():
    checked = 0
    for kind in sections():
        for name, field in kind.model_fields.items():
            if name in FREE:
                continue
            for _, bounds in numbers(field.annotation, tuple(field.metadata)):
                low = any(isinstance(b, annotated_types.Ge | annotated_types.Gt) for b in bounds)
                high = any(isinstance(b, annotated_types.Le | annotated_types.Lt) for b in bounds)
                assert low, f"{kind.__name__}.{name} has no lower bound"
                assert high, f"{kind.__name__}.{name} has no upper bound"
                checked += 1
    assert checked > 60


NONSENSE = {
    "model.init_range=1e300": "model.init_range",
    "model.factors=10000000000": "model.factors",
    "optimizer.lr=1e305": "optimizer.lr",
    "data.batch_size=99999999999": "data.batch_size",
    "trainer.threads=99999999999": "trainer.threads",
    "scheduler.cycle_len=1e-7": "scheduler.cycle_len",
    "+trainer.profiler=xla": "trainer.profiler=xla needs the package torch_xla",
    "trainer.max_epochs=10000000000": "trainer.max_epochs",
    "callbacks.monitor=val/rsme": "callbacks.monitor=val/rsme is not measured; did you mean "
    "'val/rmse'",
}


@pytest.mark.parametrize("typed", NONSENSE)
def test_nonsense_is_refused_by_its_key(typed):
    with pytest.raises(ConfigError, match=NONSENSE[typed]):
        validated(composed(typed))


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        (("model=least_squares_factors", "model.penalty=1e300"), "model.penalty"),
        (("data=synthetic", "data.noise=1e300"), "data.noise"),
        (("loss=bpr", "loss.negatives=18992545"), "loss.negatives"),
        (
            (
                "model=embedding_net",
                "features=everything",
                "++optimizer.groups.biases.items.beta1=0",
            ),
            "optimizer.groups.biases.items: ",
        ),
        (
            ("scheduler.cycle_len=0.01", "scheduler.cycle_mult=1", "trainer.max_epochs=100000"),
            "scheduler.cycle_len=0.01 gives 10,000,000 cycles",
        ),
    ],
)
def test_nonsense_of_other_options_is_refused_by_its_key(typed, key):
    with pytest.raises(ConfigError, match=key):
        validated(composed(*typed))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("model.factors=2000000000", r"model\.factors=2000000000: a model of 50 users and items"),
        ("model.hidden=2000000000", r"model\.hidden=2000000000: a model of 50 users and items"),
    ],
)
def test_a_model_beyond_memory_is_refused_with_its_size(typed, message, small_table, run_config):
    model = ("model=embedding_net",) if "hidden" in typed else ()
    config = run_config(*model, typed)
    with pytest.raises(DataError, match=rf"{message} has weights of [\d,.]+ GiB, and .* lower it"):
        build_module(config, load_data(config, small_table))


def leaves(config: Section, above: str = ""):
    """Each number of a config by its key, with the ends of what it may be."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            yield from leaves(value, f"{above}{name}.")
        for kind, bounds in numbers(field.annotation, tuple(field.metadata)):
            for bound in bounds:
                for end in ("ge", "gt", "le", "lt"):
                    limit = getattr(bound, end, None)
                    if isinstance(limit, int | float):
                        yield f"{above}{name}", _inside(kind, end, limit)


def _inside(kind: type, end: str, limit: float) -> float | int:
    if end in ("ge", "le"):
        return kind(limit)
    if kind is int:
        return int(limit) + (1 if end == "gt" else -1)
    return math.nextafter(limit, math.inf if end == "gt" else -math.inf)


BASES: dict[str, tuple[str, ...]] = {
    "dot product": (),
    "network": ("model=embedding_net",),
    "sgd": ("optimizer=sgd", "scheduler=one_cycle", "averaging=ema"),
    "least squares": ("model=least_squares_factors",),
    "gibbs": ("model=bayesian_factors", "model.burn_in=0"),
    "softmax": ("loss=softmax", "metrics.top_k=[2]"),
    "bpr": ("loss=bpr",),
}
# One batch of a small synthetic table, whatever the extreme.
TINY = {
    "data.ratings": "300", "data.users": "20", "data.items": "15", "data.batch_size": "64",
    "trainer.max_epochs": "1", "trainer.limit_train_batches": "1", "model.factors": "4",
}  # fmt: skip
QUIET = (
    *("data=synthetic", "logger=none", "callbacks.report=null", "callbacks.projector=null"),
    "callbacks.progress_bar=false",
)
# Which would train for as long as they say, or draw as many as they say.
TAKES_AS_LONG = {
    *("data.ratings", "trainer.max_epochs", "trainer.max_steps", "trainer.devices"),
    *("trainer.num_nodes", "trainer.min_epochs", "trainer.min_steps", "data.users", "data.items"),
}


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_at_the_ends_of_each_number_a_run_trains_or_says_what_is_wrong(base, tmp_path):
    start = [*QUIET, *BASES[base], *(f"{key}={value}" for key, value in TINY.items())]
    config = validated(composed(*start))
    tried = 0
    # Of what is as in the first, that says enough.
    sections = {each.partition("=")[0].partition(".")[0] for each in BASES[base]}
    for key, value in dict.fromkeys(leaves(config)):
        if key in TAKES_AS_LONG or (sections and key.partition(".")[0] not in sections):
            continue
        tried += 1
        typed = [each for each in start if not each.startswith(f"{key}=")]
        try:
            extreme = validated(composed(*typed, f"++{key}={value!r}"))
            table = load_ratings(extreme.data)
            run = RunDirectory(tmp_path / str(tried))
            metrics = train(extreme, run, data=load_data(extreme, table))
        except LightningCollabError:
            continue
        assert metrics["epochs"] <= 1, key
    assert tried >= 4
