"""Ratings predicted by another package, in a process of its own, by its own interpreter.

Run as a file (`python ratings_runner.py <method> <input.npz> <settings.json> <output.npz>`); it
imports nothing but numpy, SciPy and the package. `accuracy.py` of this folder writes the input and
reads the predictions, which it clamps to the scale and measures.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Settings = dict[str, Any]


class Rows(NamedTuple):
    """Users and items are numbered from 0; -1: without training ratings.

    Attributes:
        users: int64 [n].
        items: int64 [n].
        ratings: float32 [n]; not to be looked at in the test part.
        times: int64 [n], seconds; 0 throughout where there are none.
    """

    users: Any
    items: Any
    ratings: Any
    times: Any


def surprise_svd(train: Rows, test: Rows, settings: Settings) -> Any:
    """Surprise: biased factors by SGD on single ratings."""
    from surprise import SVD

    return _surprise(SVD, train, test, settings)


def surprise_svdpp(train: Rows, test: Rows, settings: Settings) -> Any:
    """Surprise: the same, and what the user rated."""
    from surprise import SVDpp

    return _surprise(SVDpp, train, test, settings)


def _surprise(method: Any, train: Rows, test: Rows, settings: Settings) -> Any:
    from surprise import Dataset, Reader

    rows = [(*row, None) for row in zip(*(each.tolist() for each in train[:3]), strict=True)]
    data = Dataset(Reader(rating_scale=settings["rating_range"])).construct_trainset(rows)
    model = method(
        n_factors=settings["factors"],
        n_epochs=settings["epochs"],
        lr_all=settings["lr"],
        reg_all=settings["weight_decay"],
        random_state=settings["seed"],
    ).fit(data)
    pairs = zip(test.users.tolist(), test.items.tolist(), strict=True)
    return np.array([model.predict(user, item).est for user, item in pairs])


def cornac_mf(train: Rows, test: Rows, settings: Settings) -> Any:
    """Cornac: biased factors by SGD on single ratings."""
    from cornac.data import Dataset
    from cornac.models import MF

    data = Dataset.from_uir(list(zip(*(each.tolist() for each in train[:3]), strict=True)))
    model = MF(
        k=settings["factors"],
        max_iter=settings["epochs"],
        learning_rate=settings["lr"],
        lambda_reg=settings["weight_decay"],
        num_threads=settings["threads"],
        seed=settings["seed"],
    ).fit(data)
    known = (test.users >= 0) & (test.items >= 0)
    users = np.array([data.uid_map.get(user, 0) for user in test.users.tolist()])
    items = np.array([data.iid_map.get(item, 0) for item in test.items.tolist()])
    biases = np.where(test.users >= 0, model.u_biases[users], 0) + np.where(
        test.items >= 0, model.i_biases[items], 0
    )
    dots = np.where(known, (model.u_factors[users] * model.i_factors[items]).sum(1), 0)
    return model.global_mean + biases + dots


def libmf(train: Rows, test: Rows, settings: Settings) -> Any:
    """LIBMF: factors without biases by SGD on blocks of ratings."""
    from libmf import mf

    model = mf.MF(
        k=settings["factors"],
        nr_threads=settings["threads"],
        nr_iters=settings["epochs"],
        eta=settings["lr"],
        lambda_p2=settings["weight_decay"],
        lambda_q2=settings["weight_decay"],
        lambda_p1=0.0,
        lambda_q1=0.0,
        quiet=True,
    )
    model.fit(np.stack(train[:3], axis=1).astype(np.float32))
    # The package's own predict() reads the pairs wrongly.
    dots = (model.p_factors()[test.users] * model.q_factors()[test.items]).sum(1)
    known = (test.users >= 0) & (test.items >= 0)
    return np.where(known, dots, train.ratings.mean())


def lenskit_item_knn(train: Rows, test: Rows, settings: Settings) -> Any:
    """LensKit: the nearest items that the user rated; where there are none, biases."""
    import pandas
    from lenskit.batch import predict
    from lenskit.data import ItemListCollection, from_interactions_df
    from lenskit.knn import ItemKNNScorer
    from lenskit.pipeline import predict_pipeline

    frame = pandas.DataFrame(
        {"user_id": train.users, "item_id": train.items, "rating": train.ratings}
    )
    scorer = ItemKNNScorer(max_nbrs=settings["neighbours"], min_sim=settings["least_similarity"])
    pipeline = predict_pipeline(scorer)
    pipeline.train(from_interactions_df(frame))
    asked = pandas.DataFrame({"user_id": test.users, "item_id": test.items})
    lists = ItemListCollection.from_df(asked.drop_duplicates(), ["user_id"])
    told = predict(pipeline, lists, n_jobs=1).to_df()
    found = told.set_index(["user_id", "item_id"])["score"]
    pairs = pandas.MultiIndex.from_frame(asked)
    return found.reindex(pairs).fillna(float(train.ratings.mean())).to_numpy()


def fastai_dot(train: Rows, test: Rows, settings: Settings) -> Any:
    """fastai: the dot product with biases of its course."""
    return _fastai(train, test, settings, {"n_factors": settings["factors"]})


def fastai_net(train: Rows, test: Rows, settings: Settings) -> Any:
    """fastai: the network of its course."""
    return _fastai(train, test, settings, {"use_nn": True, "layers": settings["layers"]})


def _fastai(train: Rows, test: Rows, settings: Settings, model: Settings) -> Any:
    import pandas
    import torch
    from fastai.collab import CollabDataLoaders, collab_learner
    from fastai.torch_core import set_seed

    torch.set_num_threads(settings["threads"])
    set_seed(settings["seed"])
    frame = pandas.DataFrame({"user": train.users, "item": train.items, "rating": train.ratings})
    # It wants a validation part: eight of 80,000 ratings.
    loaders = CollabDataLoaders.from_df(
        frame, valid_pct=0.0001, bs=settings["batch_size"], seed=settings["seed"]
    )
    # The range of its course.
    learner = collab_learner(loaders, y_range=(0, settings["rating_range"][1] + 0.5), **model)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(settings["epochs"], settings["lr"], wd=settings["weight_decay"])
        asked = pandas.DataFrame({"user": test.users, "item": test.items})
        predictions, _ = learner.get_preds(dl=learner.dls.test_dl(asked))
    return predictions.numpy().ravel()


def myfm(train: Rows, test: Rows, settings: Settings) -> Any:
    """myFM: a factorization machine by Gibbs sampling.

    `history`: also of what the user rated, and of who rated the item. `times`: also of the day of
    the rating. `probit`: ratings as ordered classes.
    """
    from myfm import MyFMOrderedProbit, MyFMRegressor, RelationBlock
    from scipy import sparse

    users, items = int(train.users.max()) + 1, int(train.items.max()) + 1

    def one_hot(numbers: Any, width: int) -> Any:
        known = np.flatnonzero(numbers >= 0)
        ones = np.ones(len(known))
        return sparse.csr_matrix((ones, (known, numbers[known])), (len(numbers), width))

    rated = one_hot(train.users, users).T @ one_hot(train.items, items)
    counts = [np.maximum(np.asarray(rated.sum(axis)).ravel(), 1) for axis in (1, 0)]
    of_users = [sparse.identity(users)]
    of_items = [sparse.identity(items)]
    if settings["history"]:
        of_users.append(sparse.diags(counts[0] ** -0.5) @ rated)
        of_items.append(sparse.diags(counts[1] ** -0.5) @ rated.T)

    def block(parts: list[Any], numbers: Any) -> Any:
        # A last row of zeros: of what has no training ratings.
        whole = sparse.csr_matrix(sparse.hstack(parts))
        rows = sparse.vstack([whole, sparse.csr_matrix((1, whole.shape[1]))], format="csr")
        return RelationBlock(np.where(numbers < 0, whole.shape[0], numbers), rows)

    start = train.times.min()
    days = int((max(train.times.max(), test.times.max()) - start) // 86400) + 1
    shapes = [days] if settings["times"] else []
    shapes += [part.shape[1] for part in (*of_users, *of_items)]

    def inputs(rows: Rows) -> tuple[Any, list[Any]]:
        day = (rows.times - start) // 86400
        own = one_hot(day, days) if settings["times"] else sparse.csr_matrix((len(day), 0))
        return own, [block(of_users, rows.users), block(of_items, rows.items)]

    model = (MyFMOrderedProbit if settings["probit"] else MyFMRegressor)(
        rank=settings["factors"], random_seed=settings["seed"]
    )
    targets = train.ratings.astype(np.float64)
    levels, classes = np.unique(targets, return_inverse=True)
    own, related = inputs(train)
    model.fit(
        own,
        classes if settings["probit"] else targets,
        X_rel=related,
        n_iter=settings["samples"],
        n_kept_samples=settings["kept"],
        group_shapes=shapes,
    )
    own, related = inputs(test)
    if settings["probit"]:
        return model.predict_proba(own, related) @ levels
    return model.predict(own, related)


METHODS = {
    each.__name__: each
    for each in (
        *(surprise_svd, surprise_svdpp, cornac_mf, libmf, lenskit_item_knn),
        *(fastai_dot, fastai_net, myfm),
    )
}


def main(method: str, rows: str, settings_file: str, output: str) -> None:
    """Predict by one method; see the module."""
    settings: Settings = json.loads(Path(settings_file).read_text())
    with np.load(rows) as file:
        train, test = (
            Rows(*(file[f"{part}_{column}"] for column in Rows._fields))
            for part in ("train", "test")
        )
    predictions = METHODS[method](train, test._replace(ratings=None), settings)
    np.savez(output, predictions=predictions)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(*sys.argv[1:])
