"""Scores of all items for all users by another package, in a process of its own.

Run as a file (`python rankings_runner.py <method> <input.npz> <settings.json> <output.npz>`) by the
package's own interpreter; it imports nothing but numpy, SciPy and the package. `accuracy.py` of
this folder writes the input and ranks by the scores, as it does our own.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Settings = dict[str, Any]


class Pairs(NamedTuple):
    """What was liked in the training part; users and items are numbered from 0.

    Attributes:
        users: int64 [n].
        items: int64 [n].
        sizes: users, items.
    """

    users: Any
    items: Any
    sizes: tuple[int, int]

    def matrix(self) -> Any:
        """Ones where there is a pair, CSR float32 [users, items]."""
        from scipy.sparse import csr_matrix

        ones = np.ones(len(self.users), np.float32)
        return csr_matrix((ones, (self.users, self.items)), self.sizes)


def cornac_bpr(train: Pairs, settings: Settings) -> Any:
    """Cornac: Bayesian personalized ranking, SGD on single triples."""
    from cornac.data import Dataset
    from cornac.models import BPR

    ones = np.ones(len(train.users)).tolist()
    data = Dataset.from_uir(
        list(zip(train.users.tolist(), train.items.tolist(), ones, strict=True)), seed=0
    )
    model = BPR(
        k=settings["factors"],
        max_iter=settings["epochs"],
        learning_rate=settings["lr"],
        lambda_reg=settings["weight_decay"],
        num_threads=settings["threads"],
        seed=settings["seed"],
    ).fit(data)
    scores = np.full(train.sizes, -np.inf, np.float32)
    users, items = list(data.uid_map), list(data.iid_map)
    scores[np.ix_(users, items)] = model.u_factors @ model.i_factors.T + model.i_biases
    return scores


def implicit_als(train: Pairs, settings: Settings) -> Any:
    """implicit: weighted least squares in turn (Hu, Koren and Volinsky)."""
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=settings["factors"],
        regularization=settings["weight_decay"],
        alpha=settings["alpha"],
        iterations=settings["epochs"],
        num_threads=settings["threads"],
        random_state=settings["seed"],
    )
    return _of_implicit(model, train)


def implicit_bpr(train: Pairs, settings: Settings) -> Any:
    """implicit: Bayesian personalized ranking."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=settings["factors"],
        learning_rate=settings["lr"],
        regularization=settings["weight_decay"],
        iterations=settings["epochs"],
        num_threads=settings["threads"],
        random_state=settings["seed"],
    )
    return _of_implicit(model, train)


def _of_implicit(model: Any, train: Pairs) -> Any:
    model.fit(train.matrix(), show_progress=False)
    return model.user_factors @ model.item_factors.T


def lenskit_item_knn(train: Pairs, settings: Settings) -> Any:
    """LensKit: the sum of similarities to the nearest items that the user liked."""
    from lenskit.knn import ItemKNNScorer

    return _of_lenskit(ItemKNNScorer(max_nbrs=settings["neighbours"], feedback="implicit"), train)


def lenskit_als(train: Pairs, settings: Settings) -> Any:
    """LensKit: weighted least squares in turn."""
    from lenskit.als import ImplicitMFScorer

    return _of_lenskit(
        ImplicitMFScorer(
            embedding_size=settings["factors"],
            regularization=settings["weight_decay"],
            weight=settings["alpha"],
            epochs=settings["epochs"],
        ),
        train,
        settings["seed"],
    )


def _of_lenskit(scorer: Any, train: Pairs, seed: int | None = None) -> Any:
    import pandas
    from lenskit.data import ItemList, from_interactions_df
    from lenskit.pipeline import predict_pipeline
    from lenskit.training import TrainingOptions

    frame = pandas.DataFrame({"user_id": train.users, "item_id": train.items})
    data = from_interactions_df(frame)
    pipeline = predict_pipeline(scorer, fallback=False)
    pipeline.train(data, TrainingOptions(rng=seed))
    scores = np.full(train.sizes, -np.inf, np.float32)
    known = np.unique(train.items)
    for user in np.unique(train.users).tolist():
        told = pipeline.run("rating-predictor", query=user, items=ItemList(known))
        scores[user, known] = np.nan_to_num(told.scores(), nan=-np.inf)
    return scores


def lightfm_warp(train: Pairs, settings: Settings) -> Any:
    """LightFM: weighted approximate-rank pairwise loss."""
    from lightfm import LightFM

    model = LightFM(
        no_components=settings["factors"],
        loss="warp",
        learning_rate=settings["lr"],
        item_alpha=settings["weight_decay"],
        user_alpha=settings["weight_decay"],
        random_state=settings["seed"],
    )
    model.fit(train.matrix(), epochs=settings["epochs"], num_threads=settings["threads"])
    items_own, items = model.get_item_representations()
    _, users = model.get_user_representations()
    return users @ items.T + items_own


def recbole(train: Pairs, settings: Settings) -> Any:
    """RecBole: the model that `model` names, by its own trainer, as long as `epochs`."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pairs"
        folder.mkdir()
        lines = ["user_id:token\titem_id:token"]
        lines += [f"{user}\t{item}" for user, item in zip(train.users, train.items, strict=True)]
        (folder / "pairs.inter").write_text("\n".join(lines) + "\n")
        own = {key: settings[key] for key in settings["keys"]}
        config = Config(
            model=settings["model"],
            dataset="pairs",
            config_dict={
                "data_path": place,
                "checkpoint_dir": place,
                "load_col": {"inter": ["user_id", "item_id"]},
                # All of it trains; what it asks for validation and test is not looked at.
                "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "RO", "mode": "full"},
                "epochs": settings["epochs"],
                "seed": settings["seed"],
                "use_gpu": False,
                "show_progress": False,
                "state": "ERROR",
                **own,
            },
        )
        init_seed(config["seed"], config["reproducibility"])
        data = create_dataset(config)
        training, _, _ = data_preparation(config, data)
        init_seed(config["seed"], config["reproducibility"])
        model = get_model(config["model"])(config, training.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        trainer.fit(training, None, verbose=False, saved=False, show_progress=False)
    model.eval()
    users = [int(each) for each in data.field2id_token["user_id"][1:]]
    items = [int(each) for each in data.field2id_token["item_id"][1:]]
    scores = np.full(train.sizes, -np.inf, np.float32)
    with torch.no_grad():
        asked = {"user_id": torch.arange(1, len(users) + 1)}
        told = model.full_sort_predict(asked).reshape(len(users), -1)[:, 1:].numpy()
    scores[np.ix_(users, items)] = told
    return scores


METHODS = {
    each.__name__: each
    for each in (
        *(cornac_bpr, implicit_als, implicit_bpr, lenskit_item_knn, lenskit_als),
        *(lightfm_warp, recbole),
    )
}


def main(method: str, pairs: str, settings_file: str, output: str) -> None:
    """Score by one method; see the module."""
    settings: Settings = json.loads(Path(settings_file).read_text())
    with np.load(pairs) as file:
        train = Pairs(file["users"], file["items"], tuple(file["sizes"].tolist()))
    scores = METHODS[method](train, settings)
    np.savez(output, scores=np.asarray(scores, np.float32))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(*sys.argv[1:])
