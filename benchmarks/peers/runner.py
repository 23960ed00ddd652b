"""One package's fit, timed in a process of its own and, where it needs one, by its own interpreter.

Run as a file (`python runner.py <package> <ratings> <settings.json> <output.json>`) by an
interpreter that may have neither lightning-collab nor its dependencies: nothing but numpy and the
package itself is imported. `settings["measure"]` says what of: see `MEASURES`.

The clock runs while the package fits, on ratings that are in its own form already. Whatever a
package compiles or sets up at its first fit is done by a fit of one epoch before. `from_file`
alone has no clock: whoever starts the process has it, and nothing is done beforehand.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Settings = dict[str, Any]

# A fit of fewer seconds is repeated so often, and its median taken.
SHORT, FITS = 1.0, 7


class Ratings(NamedTuple):
    """Users and items are numbered from 0; those of the validation part are known.

    Attributes:
        users: int32 [n].
        items: int32 [n].
        ratings: float32 [n].
    """

    users: Any
    items: Any
    ratings: Any


class Fit(NamedTuple):
    """What came of a fit.

    Attributes:
        seconds: of the fit alone.
        predictions: float [validation rows], in rating units; of rankings, a function that
            gives their nDCG over the first ten.
    """

    seconds: float
    predictions: Any


def cornac(train: Ratings, val: Ratings, settings: Settings) -> Any:
    """Cornac's MF: biased factors by SGD on one rating at a time."""
    from cornac.data import Dataset
    from cornac.models import MF

    # Cornac numbers users and items in the order in which they come.
    data = Dataset.from_uir(zip(*train, strict=True), seed=0)
    user_of = np.array([data.uid_map[user] for user in range(len(data.uid_map))])
    item_of = np.array([data.iid_map[item] for item in range(len(data.iid_map))])

    def fit(epochs: int) -> Fit:
        model = MF(
            k=settings["factors"],
            max_iter=epochs,
            learning_rate=settings["lr"],
            lambda_reg=settings["weight_decay"],
            num_threads=settings["threads"],
            seed=settings["seed"],
        )
        started = time.perf_counter()
        model.fit(data)
        seconds = time.perf_counter() - started
        users, items = user_of[val.users], item_of[val.items]
        dots = (model.u_factors[users] * model.i_factors[items]).sum(1)
        return Fit(
            seconds, model.global_mean + model.u_biases[users] + model.i_biases[items] + dots
        )

    return fit


def surprise(train: Ratings, val: Ratings, settings: Settings) -> Any:
    """Surprise's SVD: biased factors by SGD on one rating at a time."""
    from surprise import SVD, Dataset, Reader

    low, high = settings["rating_range"]
    rows = [(*row, None) for row in zip(*(column.tolist() for column in train), strict=True)]
    data = Dataset(Reader(rating_scale=(low, high))).construct_trainset(rows)
    user_of = np.array([data.to_inner_uid(user) for user in range(data.n_users)])
    item_of = np.array([data.to_inner_iid(item) for item in range(data.n_items)])

    def fit(epochs: int) -> Fit:
        model = SVD(
            n_factors=settings["factors"],
            n_epochs=epochs,
            lr_all=settings["lr"],
            reg_all=settings["weight_decay"],
            random_state=settings["seed"],
        )
        started = time.perf_counter()
        model.fit(data)
        seconds = time.perf_counter() - started
        users, items = user_of[val.users], item_of[val.items]
        dots = (model.pu[users] * model.qi[items]).sum(1)
        return Fit(seconds, data.global_mean + model.bu[users] + model.bi[items] + dots)

    return fit


def libmf(train: Ratings, val: Ratings, settings: Settings) -> Any:
    """LIBMF: factors without biases by SGD on blocks of ratings."""
    from libmf import mf

    data = np.stack(train, axis=1).astype(np.float32)

    def fit(epochs: int) -> Fit:
        model = mf.MF(
            k=settings["factors"],
            nr_threads=settings["threads"],
            nr_iters=epochs,
            eta=settings["lr"],
            lambda_p2=settings["weight_decay"],
            lambda_q2=settings["weight_decay"],
            lambda_p1=0.0,
            lambda_q1=0.0,
            quiet=True,
        )
        started = time.perf_counter()
        model.fit(data)
        seconds = time.perf_counter() - started
        # The package's own predict() reads the pairs wrongly.
        users, items = model.p_factors()[val.users], model.q_factors()[val.items]
        return Fit(seconds, (users * items).sum(1))

    return fit


def fastai(train: Ratings, val: Ratings, settings: Settings) -> Any:
    """The collab_learner of fastai: dot product, one cycle of Adam, as its course has it."""
    import pandas
    import torch
    from fastai.callback.core import Callback, CancelValidException
    from fastai.collab import Categorify, TabularCollab, TransformBlock, collab_learner
    from fastai.torch_core import set_seed

    torch.set_num_threads(settings["threads"])
    together = [np.concatenate(pair) for pair in zip(train, val, strict=True)]
    frame = pandas.DataFrame(dict(zip(("user", "item", "rating"), together, strict=True)))
    rows = list(range(len(frame)))
    known = len(train.ratings)
    tabular = TabularCollab(
        frame,
        [Categorify],
        ["user", "item"],
        y_names=["rating"],
        y_block=TransformBlock(),
        splits=(rows[:known], rows[known:]),
    )
    loaders = tabular.dataloaders(bs=settings["batch_size"])
    low, high = settings["rating_range"]

    class NoValidation(Callback):  # type: ignore[misc]
        def before_validate(self) -> None:
            raise CancelValidException

    def fit(epochs: int) -> Fit:
        set_seed(settings["seed"])
        learner = collab_learner(
            loaders, n_factors=settings["factors"], y_range=(low, high + 0.5), cbs=NoValidation()
        )
        started = time.perf_counter()
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(epochs, settings["lr"], wd=settings["weight_decay"])
        seconds = time.perf_counter() - started
        # Categorify gives number 0 to what is unknown.
        pairs = torch.tensor(np.stack(val[:2], axis=1).astype(np.int64) + 1)
        with torch.no_grad():
            return Fit(seconds, learner.model.eval()(pairs).squeeze().numpy())

    return fit


def dataloader(train: Ratings, val: Ratings, settings: Settings) -> Any:
    """The lecture's modules: torch's embeddings, momentum SGD, a DataLoader, and no Trainer."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(settings["threads"])
    low, high = settings["rating_range"]
    data = TensorDataset(*(torch.from_numpy(column) for column in train))
    loader = DataLoader(data, batch_size=settings["batch_size"], shuffle=True)
    sizes = (int(train.users.max()) + 1, int(train.items.max()) + 1)
    pairs = [torch.from_numpy(column) for column in val[:2]]

    class EmbeddingDotBias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = settings["factors"]
            self.user, self.item = (nn.Embedding(size, width) for size in sizes)
            self.user_bias, self.item_bias = (nn.Embedding(size, 1) for size in sizes)
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -0.01, 0.01)

        def forward(self, users: Any, items: Any) -> Any:
            dots = (self.user(users) * self.item(items)).sum(1)
            raw = dots + (self.user_bias(users) + self.item_bias(items)).squeeze(1)
            return torch.sigmoid(raw) * (high - low) + low

    def fit(epochs: int) -> Fit:
        torch.manual_seed(settings["seed"])
        model = EmbeddingDotBias()
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=settings["lr"],
            momentum=settings["momentum"],
            weight_decay=settings["weight_decay"],
        )
        # As the lecture: the rate falls to a tenth for the second half.
        halves = torch.optim.lr_scheduler.MultiStepLR(optimizer, [(epochs + 1) // 2])
        started = time.perf_counter()
        for _ in range(epochs):
            for users, items, ratings in loader:
                loss = nn.functional.mse_loss(model(users, items), ratings)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
            halves.step()
        seconds = time.perf_counter() - started
        with torch.no_grad():
            return Fit(seconds, model(*pairs).numpy())

    return fit


def implicit_als(train: Ratings, val: Ratings, settings: Settings) -> Any:
    """The least squares of implicit, in turn, of who chose what (Hu, Koren and Volinsky 2008)."""
    from implicit.cpu.als import AlternatingLeastSquares

    def model(epochs: int) -> Any:
        return AlternatingLeastSquares(
            factors=settings["factors"],
            regularization=settings["weight_decay"],
            alpha=settings["alpha"],
            iterations=epochs,
            num_threads=settings["threads"],
            random_state=settings["seed"],
        )

    return _of_implicit(model, train, val, settings["threads"])


def implicit_bpr(train: Ratings, val: Ratings, settings: Settings) -> Any:
    """The BPR of implicit: plain steps on single triples."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    def model(epochs: int) -> Any:
        return BayesianPersonalizedRanking(
            factors=settings["factors"],
            learning_rate=settings["lr"],
            regularization=settings["weight_decay"],
            iterations=epochs,
            num_threads=settings["threads"],
            random_state=settings["seed"],
        )

    return _of_implicit(model, train, val, settings["threads"])


def _of_implicit(model: Any, train: Ratings, val: Ratings, threads: int) -> Any:
    from implicit.evaluation import ranking_metrics_at_k
    from scipy.sparse import csr_matrix

    shape = tuple(1 + int(max(a.max(), b.max())) for a, b in zip(train[:2], val[:2], strict=True))
    chosen, held_out = (
        csr_matrix((np.ones(len(part.users), np.float32), part[:2]), shape) for part in (train, val)
    )

    def fit(epochs: int) -> Fit:
        fitted = model(epochs)
        started = time.perf_counter()
        fitted.fit(chosen, show_progress=False)
        seconds = time.perf_counter() - started
        return Fit(
            seconds,
            lambda: ranking_metrics_at_k(
                fitted, chosen, held_out, K=10, show_progress=False, num_threads=threads
            )["ndcg"],
        )

    return fit


PACKAGES = {
    "cornac": cornac,
    "surprise": surprise,
    "libmf": libmf,
    "fastai": fastai,
    "dataloader": dataloader,
    "implicit_als": implicit_als,
    "implicit_bpr": implicit_bpr,
}


def to_target(fit: Any, train: Ratings, val: Ratings, settings: Settings) -> dict[str, float]:
    """Fit for as few epochs as reach the target.

    Args:
        fit: from epochs to a `Fit`, everything drawn and built anew.
        train: what it fits.
        val: what it is measured on.
        settings: `target_rmse`, `rating_range`, `epochs` (the most that are tried) and, where
            that is known already, `epochs_needed`.

    Returns:
        `seconds`, `epochs`, `val_rmse` (of clamped predictions) and `ratings_per_second` of the
        first fit that reached the target, or of the longest where none did.
    """
    fit(1)
    needed = settings.get("epochs_needed")
    for epochs in [needed] if needed else range(1, settings["epochs"] + 1):
        seconds, predictions = fit(epochs)
        rmse = error(predictions, val, settings)
        if rmse <= settings["target_rmse"]:
            break
    if seconds < SHORT:
        # A single fit of milliseconds says more of the moment than of the package.
        seconds = statistics.median(fit(epochs).seconds for _ in range(FITS))
    return {
        "seconds": seconds,
        "epochs": epochs,
        "val_rmse": rmse,
        "ratings_per_second": epochs * len(train.ratings) / seconds,
    }


def error(predictions: Any, val: Ratings, settings: Settings) -> float:
    """RMSE of predictions that are clamped to `rating_range`."""
    errors = np.clip(predictions, *settings["rating_range"]) - val.ratings
    return float(np.sqrt(np.square(errors, dtype=np.float64).mean()))


def from_file(fit: Any, train: Ratings, val: Ratings, settings: Settings) -> dict[str, float]:
    """One fit of `epochs`, and `quality`: its RMSE, of rankings nDCG@10."""
    del train
    predictions = fit(settings["epochs"]).predictions
    if callable(predictions):
        return {"quality": float(predictions())}
    return {"quality": error(predictions, val, settings)}


def long_and_short(fit: Any, train: Ratings, val: Ratings, settings: Settings) -> dict[str, float]:
    """Fits of `epochs` and of `few_epochs`; what a fit does but once is not in their difference.

    Returns:
        `fit_ratings_per_second`: of the longer one as a whole; `steady_ratings_per_second`: of the
        epochs that it has more.
    """
    del val
    few, epochs, ratings = settings["few_epochs"], settings["epochs"], len(train.users)
    if not settings["slow"]:
        fit(1)
    short, long = fit(few).seconds, fit(epochs).seconds
    return {
        "fit_ratings_per_second": epochs * ratings / long,
        "steady_ratings_per_second": (epochs - few) * ratings / (long - short),
    }


MEASURES = {"to_target": to_target, "from_file": from_file, "long_and_short": long_and_short}


def read_ratings(path: Path) -> tuple[Ratings, Ratings]:
    """The training and the validation part.

    Args:
        path: a .npz file of `write_ratings`, or a folder with `train.csv` and `held_out.csv`
            (user, item, rating), whose ids are numbers from 1 on.
    """
    if path.is_dir():
        kinds = [("users", np.int32), ("items", np.int32), ("ratings", np.float32)]
        files = [path / "train.csv", path / "held_out.csv"]
        parts = [np.loadtxt(each, kinds, delimiter=",", skiprows=1) for each in files]
        train, val = (
            Ratings(part["users"] - 1, part["items"] - 1, part["ratings"].copy()) for part in parts
        )
        return train, val
    with np.load(path) as file:
        train, val = (
            Ratings(*(file[f"{part}_{column}"] for column in Ratings._fields))
            for part in ("train", "val")
        )
    return train, val


def main(package: str, ratings: str, settings_file: str, output: str) -> None:
    """Measure one package; see the module."""
    settings: Settings = json.loads(Path(settings_file).read_text())
    train, val = read_ratings(Path(ratings))
    fit = PACKAGES[package](train, val, settings)
    measured = MEASURES[settings["measure"]](fit, train, val, settings)
    Path(output).write_text(json.dumps(measured))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(*sys.argv[1:])
