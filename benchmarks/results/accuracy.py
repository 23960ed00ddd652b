"""How accurate the models are, by protocol, beside what others reach."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.environments import version
from benchmarks.results.measured_run import mean_and_deviation, measured_run
from benchmarks.results.peers import Peer
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.metrics.rankings import rank_part
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.files import write_atomically
from lightning_collab.training.build import build_module, load_data

FIRST_SEED = 42
RANKING_FILE = "rankings.json"
TOP_K, LIKED = 10, 4.0
RANKING_METRICS = (f"ndcg@{TOP_K}", f"recall@{TOP_K}", f"coverage@{TOP_K}")
U1_TO_U5 = ("u1", "u2", "u3", "u4", "u5")


@dataclass(frozen=True)
class Row:
    """One experiment, over several seeds.

    Attributes:
        title: what it is.
        experiment: its name in conf/experiment.
        folds: official folds, whose mean counts; empty: the experiment's own split.
        elsewhere: overrides that take it to other data, under a name for its folder.
    """

    title: str
    experiment: str
    folds: tuple[str, ...] = ()
    elsewhere: tuple[str, tuple[str, ...]] | None = None

    @property
    def typed(self) -> tuple[str, ...]:
        """Its overrides but for fold and seed."""
        further = () if self.elsewhere is None else self.elsewhere[1]
        return (f"experiment={self.experiment}", *further)

    def folder_name(self, fold: str | None) -> str:
        """Of the runs.

        Args:
            fold: None: the experiment's own.
        """
        further = () if self.elsewhere is None else (self.elsewhere[0],)
        return "-".join((self.experiment, *further, *(() if fold is None else (fold,))))

    def overrides(self, seed: int, fold: str | None) -> tuple[str, ...]:
        """As typed on the command line of scripts/train.py.

        Args:
            seed: of the run.
            fold: None: the experiment's own.
        """
        of_fold = () if fold is None else (f"split.fold={fold}",)
        return (*self.typed, *of_fold, f"seed={seed}")


@dataclass(frozen=True)
class Section:
    """Rows that are measured alike.

    Attributes:
        title: of the table.
        protocol: what trains and what tests.
        rows: ours.
        peers: others.
        part: `test`; `val` where the protocol's test part is called so (the lecture's), measured at
            the last epoch, so that nothing is chosen by it.
    """

    title: str
    protocol: str
    rows: tuple[Row, ...]
    peers: tuple[Peer, ...] = ()
    part: str = "test"


# What can be said before it is known when somebody rates.
WITHOUT_TIME = ("without-time", ("~features.time",))
ON_LATEST_SMALL = ("latest-small", ("data=ml_latest_small", "split=random"))


def _measured(name: str, rmse: float, package: str) -> Peer:
    """As docs/results/peers.md has it, which a test compares."""
    return Peer(name, rmse, "measured", f"[peers.md](peers.md), {version(package)}")


U1 = "trains on u1.base (80,000 ratings), tests on u1.test (20,000)"
SECTIONS = (
    Section(
        "MovieLens 100K, u1, ids alone",
        U1,
        (
            Row("dot product", "ml_100k_u1_embedding_dot_bias"),
            Row("network", "ml_100k_u1_embedding_net"),
            Row("factors by Gibbs sampling", "ml_100k_u1_bayesian_factors"),
        ),
        (
            _measured("fastai, dot product", 0.9348, "fastai"),
            _measured("fastai, network", 0.9511, "fastai"),
            _measured("Surprise, SVD", 0.9240, "surprise"),
            _measured("LIBMF", 0.9196, "libmf"),
            _measured("LensKit, item kNN", 0.9280, "lenskit"),
            _measured("Cornac, MF", 0.9184, "cornac"),
            _measured("myFM", 0.9074, "myfm"),
        ),
    ),
    Section(
        "MovieLens 100K, u1, who rated what",
        U1,
        (
            Row("dot product with history", "ml_100k_u1_embedding_dot_bias_history"),
            Row("factors by Gibbs sampling", "ml_100k_u1_bayesian_factors_history"),
        ),
        (
            _measured("Surprise, SVD++", 0.9268, "surprise"),
            Peer("IGMC", 0.905, "published", "Zhang and Chen 2020"),
            Peer("GLocal-K", 0.889, "published", "Han et al. 2021"),
            _measured("myFM with history", 0.8903, "myfm"),
        ),
    ),
    Section(
        "MovieLens 100K, u1, everything that is known",
        (
            f"{U1}. The first row looks at the time of each test rating, as myFM with time does: "
            "it can be had where a rating is predicted once it is known when it is given; for "
            "tomorrow there is the second"
        ),
        (
            Row("factors by Gibbs sampling", "ml_100k_u1_bayesian_factors_everything"),
            Row(
                "the same without the time of a rating",
                "ml_100k_u1_bayesian_factors_everything",
                elsewhere=WITHOUT_TIME,
            ),
        ),
        (
            Peer("GC-MC with features", 0.905, "published", "van den Berg et al. 2017"),
            Peer(
                "myFM with history and the day of a rating",
                0.889,
                "published",
                "myFM's documentation, TimeSVD++ flipped",
            ),
            _measured("myFM with history and the day of a rating, ordered probit", 0.8870, "myfm"),
        ),
    ),
    Section(
        "MovieLens 100K, mean of the five official folds",
        (
            "trains on u1.base to u5.base, tests on u1.test to u5.test. The keys are those of u1: "
            "the dot product's were found on the test parts of u2 to u5, which lie within u1.base, "
            "and those of Gibbs sampling on a tenth of u1.base, so that of the five folds of "
            "either only u1 is unseen"
        ),
        (
            Row("dot product with history", "ml_100k_u1_embedding_dot_bias_history", U1_TO_U5),
            Row(
                "factors by Gibbs sampling, everything",
                "ml_100k_u1_bayesian_factors_everything",
                U1_TO_U5,
            ),
            Row(
                "the same without the time of a rating",
                "ml_100k_u1_bayesian_factors_everything",
                U1_TO_U5,
                WITHOUT_TIME,
            ),
        ),
        (Peer("Surprise, SVD++", 0.919, "published", "Surprise's documentation"),),
    ),
    Section(
        "The lecture's data and split",
        "latest-small 2016, trains on 80%, tests on the lecture's 20% at the last epoch",
        (
            Row("factors by Gibbs sampling, everything", "lecture_bayesian_factors"),
            Row(
                "the same without the time of a rating",
                "lecture_bayesian_factors",
                elsewhere=WITHOUT_TIME,
            ),
        ),
        (
            _measured("fastai, dot product", 0.8828, "fastai"),
            _measured("Cornac, MF", 0.8660, "cornac"),
            _measured("myFM with history", 0.8491, "myfm"),
        ),
        part="val",
    ),
    Section(
        "Carried over: the configs of u1 on latest-small",
        (
            "latest-small 2018 (610 users, 9,724 films), random split, trains on 90% (90,753 "
            "ratings), tests on 10%. No key was chosen on these data; features that they lack "
            "(gender, age, occupation) are skipped. All carry over but the network's, which are "
            "worth no more than biases here"
        ),
        (
            Row("dot product", "ml_100k_u1_embedding_dot_bias", elsewhere=ON_LATEST_SMALL),
            Row("network", "ml_100k_u1_embedding_net", elsewhere=ON_LATEST_SMALL),
            Row(
                "dot product with history",
                "ml_100k_u1_embedding_dot_bias_history",
                elsewhere=ON_LATEST_SMALL,
            ),
            Row(
                "factors by Gibbs sampling, ids alone",
                "ml_100k_u1_bayesian_factors",
                elsewhere=ON_LATEST_SMALL,
            ),
            Row(
                "factors by Gibbs sampling, history",
                "ml_100k_u1_bayesian_factors_history",
                elsewhere=ON_LATEST_SMALL,
            ),
            Row(
                "factors by Gibbs sampling, everything",
                "ml_100k_u1_bayesian_factors_everything",
                elsewhere=ON_LATEST_SMALL,
            ),
        ),
        (Peer("user and item biases", 0.8817, "measured", "every run prints it"),),
    ),
)


@dataclass(frozen=True)
class Measured:
    """A row with its numbers over the seeds.

    Attributes:
        row: what was run.
        rmse: float [seeds], each a mean over the folds.
        ranking: of all runs, by the names in `RANKING_METRICS`.
        seconds: mean training time of a run.
    """

    row: Row
    rmse: list[float]
    ranking: list[dict[str, float]]
    seconds: float


def measure(section: Section, runs: Path, seeds: int) -> Iterator[Measured]:
    """Run each row of a section with each seed.

    Args:
        section: whose rows.
        runs: folder of the runs.
        seeds: how many, from 42 on; the split is the same for all.
    """
    for row in section.rows:
        rmse, ranking, seconds = [], [], []
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            of_folds = []
            for fold in row.folds or (None,):
                folder = runs / "accuracy" / row.folder_name(fold) / f"seed-{seed}"
                loaded: dict[str, RatingDataModule] = {}
                metrics, epochs = measured_run(folder, *row.overrides(seed, fold), data=loaded)
                last = epochs[-1] if section.part == "val" else metrics
                of_folds.append(last[f"{section.part}/rmse"])
                ranking.append(_ranking(folder, section.part, loaded))
                seconds.append(metrics["fit_seconds"])
            rmse.append(float(np.mean(of_folds)))
        yield Measured(row, rmse, ranking, float(np.mean(seconds)))


def _ranking(folder: Path, part: str, loaded: dict[str, RatingDataModule]) -> dict[str, float]:
    """Of a run's last checkpoint; measured once and kept beside it."""
    file = folder / RANKING_FILE
    if not file.is_file():
        run = RunDirectory(folder)
        config = run.read_config()
        data = next(iter(loaded.values()), None) or load_data(config)
        module = build_module(config, data).eval()
        module.load_trained(read_checkpoint(run.last_checkpoint), run.last_checkpoint)
        scores = module.model.item_scores()
        found = rank_part(scores, data, part, liked=LIKED, top_k=[TOP_K])
        by_name = {name: found[f"{part}/{name}"] for name in RANKING_METRICS}
        write_atomically(file, json.dumps(by_name))
    kept: dict[str, float] = json.loads(file.read_text())
    return kept


def markdown(measured: list[Measured], peers: tuple[Peer, ...]) -> str:
    """A Markdown table, ours first, then the others from the best on.

    Args:
        measured: rows of one section.
        peers: what others reach by the same protocol.
    """
    head = (
        "model",
        "test RMSE",
        f"NDCG@{TOP_K}",
        f"recall@{TOP_K}",
        "coverage",
        "seconds",
        "how it was had",
    )
    lines: list[tuple[str, ...]] = [head, ("---",) * len(head)]
    for each in measured:
        folds = "split.fold=u1..u5 " if each.row.folds else ""
        lines.append(
            (
                f"**{each.row.title}**",
                mean_and_deviation(each.rmse),
                *(
                    f"{np.mean([ranks[name] for ranks in each.ranking]):.3f}"
                    for name in RANKING_METRICS
                ),
                f"{each.seconds:.1f}",
                f"`scripts/train.py {' '.join(each.row.typed)} {folds}`".replace(" `", "`"),
            )
        )
    for peer in sorted(peers, key=lambda each: each.rmse):
        cells = (peer.name, f"{peer.rmse:.4g}", "", "", "", "")
        lines.append((*cells, f"{peer.source}: {peer.where}"))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
