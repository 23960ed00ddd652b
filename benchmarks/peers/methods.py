"""Methods of other packages, the settings that are tried of each, and the protocols.

A grid has its best value inside, or says by its ends how far it went; where nothing is searched the
settings are those of the package's own examples.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers import rankings_runner, ratings_runner

RATINGS, RANKINGS = ratings_runner.__file__, rankings_runner.__file__

Settings = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """One method of a package.

    Attributes:
        title: as the tables name it.
        package: see `environments.REQUIREMENTS`.
        runner: the file that fits it.
        function: of that file.
        fixed: settings that are not searched.
        searched: values of those that are.
    """

    title: str
    package: str
    runner: str
    function: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    searched: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def settings(self) -> list[Settings]:
        """All that are tried."""
        grid = itertools.product(*self.searched.values())
        return [{**self.fixed, **dict(zip(self.searched, values, strict=True))} for values in grid]


GIBBS = {"factors": 10, "samples": 512, "kept": 412}
PLAIN = {"history": False, "times": False, "probit": False}
SURPRISE_SVD = Method(
    "Surprise, SVD",
    "surprise",
    RATINGS,
    "surprise_svd",
    {"factors": 100, "epochs": 100},
    {"lr": (0.005, 0.01), "weight_decay": (0.09, 0.12, 0.15)},
)
SURPRISE_SVDPP = Method(
    "Surprise, SVD++",
    "surprise",
    RATINGS,
    "surprise_svdpp",
    {"factors": 20},
    {"epochs": (20, 40), "lr": (0.007,), "weight_decay": (0.02, 0.06, 0.1)},
)
CORNAC_MF = Method(
    "Cornac, MF",
    "cornac",
    RATINGS,
    "cornac_mf",
    {"factors": 100},
    {"epochs": (30, 60), "lr": (0.005, 0.01), "weight_decay": (0.07, 0.1, 0.13)},
)
LIBMF = Method(
    "LIBMF",
    "libmf",
    RATINGS,
    "libmf",
    {"lr": 0.05},
    {"factors": (20, 40), "epochs": (30, 60), "weight_decay": (0.05, 0.08, 0.1, 0.13)},
)
LENSKIT_KNN = Method(
    "LensKit, item kNN",
    "lenskit",
    RATINGS,
    "lenskit_item_knn",
    {},
    {"neighbours": (20, 40, 80), "least_similarity": (1e-6, 0.05)},
)
FASTAI_DOT = Method(
    "fastai, dot product",
    "fastai",
    RATINGS,
    "fastai_dot",
    {"factors": 50, "lr": 5e-3, "batch_size": 64},
    {"epochs": (5, 10), "weight_decay": (0.1, 0.2, 0.3)},
)
FASTAI_NET = Method(
    "fastai, network",
    "fastai",
    RATINGS,
    "fastai_net",
    {"layers": [100, 50], "epochs": 5, "lr": 5e-3, "batch_size": 64},
    {"weight_decay": (0.01, 0.1)},
)
MYFM = Method("myFM", "myfm", RATINGS, "myfm", {**GIBBS, **PLAIN})
MYFM_HISTORY = Method(
    "myFM with history",
    "myfm",
    RATINGS,
    "myfm",
    {"samples": 512, "kept": 412, **PLAIN, "history": True},
    {"factors": (10, 20)},
)
MYFM_TIME = Method(
    "myFM with history and the day of a rating, ordered probit",
    "myfm",
    RATINGS,
    "myfm",
    {**GIBBS, "history": True, "times": True, "probit": True},
)
CORNAC_BPR = Method(
    "Cornac, BPR",
    "cornac",
    RANKINGS,
    "cornac_bpr",
    {"factors": 64},
    {"lr": (0.01, 0.05), "epochs": (50, 100, 200), "weight_decay": (0.003, 0.01, 0.03)},
)
IMPLICIT_BPR = Method(
    "implicit, BPR",
    "implicit",
    RANKINGS,
    "implicit_bpr",
    {"factors": 64},
    {"lr": (0.003, 0.01, 0.03), "epochs": (50, 100, 200), "weight_decay": (0.01, 0.1)},
)
IMPLICIT_ALS = Method(
    "implicit, least squares",
    "implicit",
    RANKINGS,
    "implicit_als",
    {"epochs": 15},
    {"factors": (16, 32, 64), "weight_decay": (0.1, 1.0, 10.0), "alpha": (1.0, 3.0, 10.0)},
)
LENSKIT_ALS = Method(
    "LensKit, least squares",
    "lenskit",
    RANKINGS,
    "lenskit_als",
    {"epochs": 15},
    {"factors": (16, 32), "weight_decay": (0.1, 1.0), "alpha": (3.0, 10.0)},
)
LENSKIT_RANKED_KNN = Method(
    "LensKit, item kNN", "lenskit", RANKINGS, "lenskit_item_knn", {}, {"neighbours": (20, 50, 200)}
)
LIGHTFM_WARP = Method(
    "LightFM, WARP",
    "lightfm",
    RANKINGS,
    "lightfm_warp",
    {"factors": 64, "lr": 0.05},
    {"epochs": (20, 50), "weight_decay": (0.0, 1e-5)},
)
RECBOLE_EASE = Method(
    "RecBole, EASE",
    "recbole",
    RANKINGS,
    "recbole",
    {"model": "EASE", "epochs": 1, "keys": ["reg_weight"]},
    {"reg_weight": (100.0, 250.0, 500.0)},
)
RECBOLE_BPR = Method(
    "RecBole, BPR",
    "recbole",
    RANKINGS,
    "recbole",
    {
        **{"model": "BPR", "keys": ["embedding_size", "learning_rate", "train_batch_size"]},
        **{"embedding_size": 64, "train_batch_size": 2048},
    },
    {"learning_rate": (2e-3,), "epochs": (20, 50, 100)},
)
RECBOLE_LIGHTGCN = Method(
    "RecBole, LightGCN",
    "recbole",
    RANKINGS,
    "recbole",
    {
        "model": "LightGCN",
        "keys": ["embedding_size", "n_layers", "learning_rate", "train_batch_size"],
        **{"embedding_size": 64, "n_layers": 3, "train_batch_size": 2048},
    },
    {"learning_rate": (2e-3,), "epochs": (50, 100)},
)
RANKED = (
    *(CORNAC_BPR, IMPLICIT_BPR, IMPLICIT_ALS, LENSKIT_ALS, LENSKIT_RANKED_KNN),
    *(LIGHTFM_WARP, RECBOLE_EASE, RECBOLE_BPR, RECBOLE_LIGHTGCN),
)


@dataclass(frozen=True)
class Protocol:
    """What trains, what tests, and who is measured.

    Attributes:
        name: of its folder.
        title: of its table.
        about: how it is split and measured.
        typed: overrides that load it.
        methods: measured by it.
        part: that tests.
        liked: of a ranking, the lowest rating of what is to be found; `all`: any.
        seed_key: what differs from seed to seed; None: the draws of the method alone.
        settings_of: the protocol whose best settings are taken; empty: it has a validation part.
        held_out: of ratings, overrides whose test part lies within the training part and validates;
            empty: a tenth of the training part at random.
    """

    name: str
    title: str
    about: str
    typed: tuple[str, ...]
    methods: tuple[Method, ...]
    part: str = "test"
    liked: Any = None
    seed_key: str | None = None
    settings_of: str = ""
    held_out: tuple[str, ...] = ()


U1 = ("data=ml_100k", "split=official_fold", "split.fold=u1", "split.val=0")
PROTOCOLS = (
    Protocol(
        "u1",
        "Ratings: MovieLens 100K, u1",
        "Trains on u1.base, tests on u1.test. RMSE of predictions clamped to the scale. Settings "
        "are chosen on u2.test, which lies within u1.base.",
        U1,
        (
            *(SURPRISE_SVD, SURPRISE_SVDPP, CORNAC_MF, LIBMF, LENSKIT_KNN, FASTAI_DOT),
            *(FASTAI_NET, MYFM, MYFM_HISTORY, MYFM_TIME),
        ),
        held_out=("data=ml_100k", "split=official_fold", "split.fold=u2", "split.val=0"),
    ),
    Protocol(
        "lecture",
        "Ratings: the lecture's data and split",
        "Latest-small 2016, trains on 80%, tests on the lecture's 20%. Settings are chosen on a "
        "tenth of the 80%, at random.",
        ("experiment=lecture_dot_bias",),
        (CORNAC_MF, FASTAI_DOT, MYFM_HISTORY),
        part="val",
    ),
    Protocol(
        "random",
        "Rankings: MovieLens 100K, 80/10/10 at random, four stars or more",
        "Trains on ratings of 4 or more; what a user rated before, liked or not, is left out of "
        "the user's ranking. Settings are chosen on the validation part of the first split.",
        ("experiment=ml_100k_ranking",),
        RANKED,
        liked=4.0,
        seed_key="split.seed",
    ),
    Protocol(
        "recbole",
        "Rankings: MovieLens 100K by RecBole's protocol",
        "Ratings of 3 or more, 8:1:1 within each user; every held-out pair is to be found. "
        "Settings are chosen on the validation part of the first split.",
        ("experiment=ml_100k_recbole",),
        RANKED,
        liked="all",
        seed_key="split.seed",
    ),
    Protocol(
        "u1_ranked",
        "Rankings: MovieLens 100K, u1, four stars or more",
        "Trains on all of u1.base, with the settings that are best on the random split's "
        "validation part.",
        ("experiment=ml_100k_ranking", *U1[1:]),
        RANKED,
        liked=4.0,
        settings_of="random",
    ),
)
