"""What each setting of Gibbs sampling does on ratings that are kept out of u1.base."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results.measured_run import mean_and_deviation, measured_run

FIRST_SEED = 42
COMMON = ("experiment=ml_100k_u1_bayesian_factors_everything", "split.val=0.1")


@dataclass(frozen=True)
class Setting:
    """One key, and the values that are tried; the others stay as the experiment has them.

    Attributes:
        title: what it is.
        key: with `{}` for the value.
        taken: the experiment's value, measured once for all settings.
        others: the other values.
        without: the override that leaves it out; empty: it cannot be left out.
    """

    title: str
    key: str
    taken: str
    others: tuple[str, ...]
    without: str = ""

    def overrides(self) -> Iterator[tuple[str, str]]:
        """Each value but the one taken, and what is typed for it."""
        for value in self.others:
            yield value, self.key.format(value)
        if self.without:
            yield "left out", self.without


SETTINGS = (
    Setting("length of embeddings", "model.factors={}", "16", ("8", "32")),
    Setting("sweeps", "trainer.max_epochs={}", "400", ("100", "200", "800")),
    Setting("burn-in", "model.burn_in={}", "50", ("10", "20", "100")),
    Setting("samples kept", "model.samples={}", "200", ("50", "100", "400")),
    Setting("noise of each user", "model.user_noise={}", "true", ("false",)),
    Setting("noise of each item", "model.item_noise={}", "true", ("false",)),
    *(
        Setting(title, f"features.time.{name}.days={{}}", taken, others, f"~features.time.{name}")
        for title, name, taken, others in (
            ("days of a user's mood", "user_day", "1", ("2", "7")),
            ("days of a user's drift", "user_month", "30", ("15", "60")),
            ("days of an item's drift", "item_month", "30", ("15", "60")),
        )
    ),
    Setting("bins of age", "features.users.age.bins={}", "8", ("4", "16"), "~features.users.age"),
    Setting(
        "bins of year", "features.items.year.bins={}", "10", ("5", "20"), "~features.items.year"
    ),
)


def page(runs: Path, seeds: int) -> str:
    """docs/results/gibbs_settings.md.

    Args:
        runs: folder of the runs.
        seeds: how many, from 42 on.
    """
    return "\n".join(
        [
            "# Where the settings of Gibbs sampling are from",
            "",
            "RMSE on a tenth of u1.base that is kept out (`split.val=0.1`), mean and standard "
            f"deviation over {seeds} seeds (42, 43, ...) of the sampler; the tenth is the same for "
            "all. One key is changed at a time: `scripts/train.py "
            f"{' '.join(COMMON)} <key>=<value>`. u1.test has no part in it, but u2.test to u5.test "
            "lie within u1.base, so that the mean over the five folds is not of unseen ratings. "
            "Priors are the weak ones of the papers that "
            "[bayesian-factors.md](../bayesian-factors.md#the-model) names and were not searched. "
            f"The page is written by `scripts/results.py table=gibbs_settings seeds={seeds}`.",
            "",
            "Only the length of embeddings, the number of sweeps and the noise of users and items "
            "matter here by more than the deviation; more factors and more sweeps would do a "
            "little better, and cost as much more time. No kind of periods alone gains anything "
            "on this tenth, which is drawn at random; all together gain 0.003 on u1.test and "
            "0.010 on the lecture's part ([accuracy.md](accuracy.md)).",
            "",
            markdown(measured(runs, seeds)),
        ]
    )


def measured(runs: Path, seeds: int) -> dict[str, list[float]]:
    """Validation RMSE by what is typed beside `COMMON`, one a seed; empty: nothing.

    Args:
        runs: folder of the runs.
        seeds: how many, from 42 on; the part kept out is the same for all.
    """
    typed = ["", *(each for setting in SETTINGS for _, each in setting.overrides())]
    return {each: [_rmse(runs, each, seed) for seed in _seeds(seeds)] for each in typed}


def _seeds(seeds: int) -> range:
    return range(FIRST_SEED, FIRST_SEED + seeds)


def _rmse(runs: Path, typed: str, seed: int) -> float:
    folder = runs / "gibbs_settings" / (typed.replace("~", "no-") or "taken") / f"seed-{seed}"
    overrides = (*COMMON, *([typed] if typed else []), f"seed={seed}")
    return float(measured_run(folder, *overrides)[1][-1]["val/rmse"])


def markdown(found: dict[str, list[float]]) -> str:
    """A Markdown table: a setting a row, its values in the order tried.

    Args:
        found: from `measured`.
    """
    lines = [
        f"With what the experiment has: {mean_and_deviation(found[''])}.",
        "",
        "| setting | taken | others: validation RMSE |",
        "| --- | --- | --- |",
    ]
    for setting in SETTINGS:
        others = (
            f"{value}: {mean_and_deviation(found[typed])}" for value, typed in setting.overrides()
        )
        key = setting.key.partition("=")[0]
        lines.append(f"| {setting.title}, `{key}` | {setting.taken} | {'; '.join(others)} |")
    return "\n".join(lines)
