"""What every LightningModule of a rating model shares: metrics, checkpoints, unknown rows."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, distributed

from lightning_collab.config.model import MetricsConfig, Positives
from lightning_collab.config.renamed import with_new_names
from lightning_collab.config.section import checked
from lightning_collab.config.trainer import SOLVED_IN
from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.feed import Ranked
from lightning_collab.data.ranking_batches import RankingBatch
from lightning_collab.data.vocabulary import Side, Vocabulary
from lightning_collab.errors import CheckpointError, ConfigError, TrainingError
from lightning_collab.losses import Loss, PointwiseLoss, SquaredError
from lightning_collab.losses.loss import EXPLODED
from lightning_collab.metrics.rankings import RankingMetrics
from lightning_collab.metrics.ratings import LossMetric, RunMetrics
from lightning_collab.models import RatingModel, random_numbers
from lightning_collab.models.cold_rows import ColdSide
from lightning_collab.models.item_scores import ItemScores
from lightning_collab.models.rating_model import TrainedBy
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.training.trained_model import model_config, rebuilt_model

NO_NUMBER = "the training loss is no longer a number"

MODULES = {
    "gradient": "RatingModule",
    "least_squares": "LeastSquaresModule",
    "implicit": "ImplicitModule",
    "gibbs": "BayesianModule",
}


class BaseModule(pl.LightningModule):
    """Measures RMSE and MAE on predictions clamped to the scale; subclasses train.

    Args:
        model: what is trained.
        loss: what the training makes small; that of validation is logged beside the metrics.
        metrics: names of metrics of others that are measured too.
        config: plain values that each checkpoint keeps; `model` is always among them.
        rating_range: lowest and highest rating, to which predictions are clamped in metrics; None:
            those of the data module that the trainer is given.
        vocabularies: `users` and `items`, kept in each checkpoint; None: likewise.
    """

    # Which models it trains.
    trained_by: ClassVar[TrainedBy] = "gradient"
    # Whether its batch is the whole training part.
    takes_all_at_once: ClassVar[bool] = False

    def __init__(
        self,
        model: RatingModel,
        loss: Loss | None = None,
        *,
        metrics: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        rating_range: tuple[float, float] | None = None,
        vocabularies: Mapping[Side, Vocabulary] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss or SquaredError()
        self.config = {
            "model": model.config.model_dump(mode="json"),
            "metrics": {"further": list(metrics)},
            **(config or {}),
        }
        self._rating_range = rating_range
        self._vocabularies = vocabularies
        self.rankings: dict[str, RankingMetrics] = {}
        # Rows of ids without training ratings, once it has been measured with them.
        self.cold: Mapping[Side, ColdSide] = {}
        self._scores: ItemScores | None = None
        self.val_metrics = RunMetrics("val/", metrics)
        self.test_metrics = RunMetrics("test/", metrics)
        # Of a loss that compares items, rankings are measured in its place.
        pointwise = self.loss if isinstance(self.loss, PointwiseLoss) else SquaredError()
        self.val_loss = LossMetric(pointwise)
        # The sum of the losses of the epoch under way stays on the device: reading it at each
        # step would make the CPU wait.
        self._loss_sum = torch.zeros((), dtype=torch.float64)
        self._rows_seen = 0
        # Of a resumed training, what the processes before took; and when this one began.
        self.seconds_before = 0.0
        self._began: float | None = None
        # Whether a loss that is not a number ends the run, as it should but in a range test.
        self.stops_on_divergence = True

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        map_location: str | torch.device | None = None,
        **settings: Any,
    ) -> Self:
        """The module of a checkpoint, whichever trainer wrote it: a run's, or a stock `pl.Trainer`.

        The model, its weights and the ids of its rows are those of the checkpoint, which is read
        as tensors and plain values: no code in it is run.

        Args:
            checkpoint_path: of the file.
            map_location: device that the module is put on; None: the CPU.
            settings: arguments of the class, in place of what the checkpoint says.

        Raises:
            CheckpointError: no such file, it is no checkpoint of ours, or its model is
                trained by another class.
            ConfigError: its model, loss, optimizer or schedule is of another version.

        Example:
            >>> module = lightning_collab.RatingModule.load_from_checkpoint(run.checkpoint)
            >>> (found,) = pl.Trainer().validate(module, datamodule=run.data, verbose=False)
            >>> found["val/rmse"] == run.metrics["val/rmse"]
            True
        """
        path = Path(checkpoint_path)
        content = read_checkpoint(path)
        config = with_new_names(content["config"])
        model, vocabularies, rating_range = rebuilt_model(content, model_config(config, path), path)
        if model.trained_by != cls.trained_by:
            raise CheckpointError(
                f"{path}: its model is {type(model).__name__}, which {cls.__name__} does not "
                f"train; use {MODULES[model.trained_by]}.load_from_checkpoint"
            )
        of_checkpoint = {
            "metrics": (config.get("metrics") or {}).get("further", ()),
            "config": config,
            "rating_range": rating_range,
            "vocabularies": vocabularies,
            **cls._settings_of(config, path, settings),
        }
        module = cls(model, **{**of_checkpoint, **settings})
        module.load_trained(content, path)
        return module.to(map_location) if map_location is not None else module

    @classmethod
    def _settings_of(
        cls, config: Mapping[str, Any], path: Path, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Arguments of the class that the config in a checkpoint has, but for those given."""
        return {}

    @property
    def ranks(self) -> bool:
        """Whether it is measured by rankings of items, in place of errors of ratings."""
        return self.loss.config.metrics == "rankings" or self.model.config.ranks

    @property
    def positives(self) -> Positives | None:
        """The lowest rating that counts as chosen in training; None: it learns ratings."""
        if not self.ranks:
            return None
        of_loss: Positives = getattr(self.loss.config, "positives", "all")
        chosen: Positives = getattr(self.model.config, "positives", of_loss)
        return chosen

    @property
    def given_data(self) -> RatingDataModule | None:
        """The data module of the trainer; None: it was given loaders, or one of another kind."""
        found = getattr(self.trainer, "datamodule", None)
        return found if isinstance(found, RatingDataModule) else None

    @property
    def data(self) -> RatingDataModule:
        """The ratings that the trainer works on.

        Raises:
            TrainingError: it was given loaders, or a data module of another kind.
        """
        found = self.given_data
        if found is None:
            raise TrainingError(
                "the trainer has no RatingDataModule to take the scale and the ids from; call "
                "trainer.fit(module, datamodule=data) with one, or give the module rating_range "
                "and vocabularies"
            )
        return found

    @property
    def rating_range(self) -> tuple[float, float]:
        """Lowest and highest rating of the scale."""
        if self._rating_range is None:
            self._rating_range = self.data.table.rating_range
        return self._rating_range

    @property
    def vocabularies(self) -> Mapping[Side, Vocabulary]:
        """Of `users` and `items`, in the order of the model's rows."""
        if self._vocabularies is None:
            data = self.data
            self._vocabularies = {"users": data.user_vocabulary, "items": data.item_vocabulary}
        return self._vocabularies

    @property
    def steps_done(self) -> int:
        """Optimizer steps since the beginning of the training, over all resumes."""
        return self.global_step

    def forward(self, batch: RatingBatch) -> Tensor:
        """Predicted ratings, float [B], not clamped."""
        rating: Tensor = self.model(batch)
        return rating

    def in_full_precision(self) -> AbstractContextManager[Any]:
        """Meanwhile nothing is computed in 16 bits: equations that are solved need all digits."""
        return torch.autocast(self.device.type, enabled=False)

    def count_loss(self, loss: Tensor, rows: int) -> None:
        """Add a batch to the training loss of the epoch.

        Args:
            loss: its sum over the rows, a scalar.
            rows: how many they are.
        """
        self._loss_sum += loss.detach()
        self._rows_seen += rows

    def setup(self, stage: str) -> None:
        """Refuse data that the model was not made for.

        Raises:
            TrainingError: the ids of the trainer's data are not those of the model's rows.
            ConfigError: the model is solved on all ratings at once, and the data has batches, or
            the trainer's precision has too few digits; the device has no float64.
        """
        self._check_device()
        sizes: dict[str, int] = {side: len(each) for side, each in self.vocabularies.items()}
        for side, table in self.model.lookup_tables().get("embeddings", {}).items():
            if sizes and table.num_embeddings != sizes[side]:
                raise TrainingError(
                    f"the model has {table.num_embeddings} rows of {side}, and the data's training "
                    f"part has {sizes[side]} (the unknown row among them); make the model of "
                    "this data: type(model).for_data(data, ...)"
                )
        data = self.given_data
        if data is not None:
            self._check_data(data, stage)
        if self.ranks:
            self._measure_rankings(self.data)

    def _check_device(self) -> None:
        trainer: Any = self.trainer
        if trainer.strategy.root_device.type == "mps":
            raise ConfigError(
                "Apple's GPUs have no float64, in which losses and metrics are summed; give the "
                'trainer accelerator="cpu"'
            )
        if self.trained_by != "gradient" and trainer.precision not in SOLVED_IN:
            raise ConfigError(
                f"precision={trainer.precision}: {type(self.model).__name__} is solved by linear "
                f"equations, which need more digits; set one of {', '.join(SOLVED_IN)}"
            )

    def _measure_rankings(self, data: RatingDataModule) -> None:
        """Have held-out parts come as users, and count how well what they liked is found."""
        settings = checked(MetricsConfig, self.config["metrics"])
        positives, seed = self.positives, int(self.config.get("seed", 0))
        assert positives is not None
        data.ranked = Ranked(settings.liked_beside(positives), settings.users, seed)
        counts = data.chosen(data.rows.train, positives).item_counts[1:]
        # In a dictionary, so that they are no submodules: a checkpoint has nothing of them.
        self.rankings = {
            part: RankingMetrics(f"{part}/", settings.top_k, counts, seed)
            for part in ("val", "test")
        }

    def teardown(self, stage: str) -> None:
        """Leave the data as it was."""
        if self.given_data is not None:
            self.given_data.ranked = None

    def _rank(self, batch: RankingBatch, part: str) -> None:
        """Score all items for some users, and look for those that they liked."""
        if self._scores is None:
            self._scores = self.model.ranking_scores()
        metrics = self.rankings[part].to(self.device)
        metrics.update(self._scores.of_users(batch.users), batch)

    def _rankings_of(self, part: str) -> dict[str, Tensor]:
        self._scores = None
        found = self.rankings[part].compute()
        self.rankings[part].reset()
        return found

    def _check_data(self, data: RatingDataModule, stage: str) -> None:
        found: dict[Side, Vocabulary] = {
            "users": data.user_vocabulary,
            "items": data.item_vocabulary,
        }
        for side, ours in self.vocabularies.items():
            if ours is not found[side] and ours != found[side]:
                raise TrainingError(_other_data("the model", ours, found[side], side))
        batches = data.batches_per_epoch
        if stage == "fit" and self.takes_all_at_once and batches > 1:
            raise ConfigError(
                f"{type(self.model).__name__} is solved on all training ratings at once, and the "
                f'data gives them in {batches} batches; make it with batch_size="full"'
            )

    def on_train_start(self) -> None:
        """Move the sums of a resumed epoch to the device."""
        self._began = time.perf_counter()
        self._loss_sum = self._loss_sum.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Start the sums of the epoch."""
        self._loss_sum.zero_()
        self._rows_seen = 0

    def on_train_batch_end(self, outputs: Any, batch: RatingBatch, batch_idx: int) -> None:
        """Look now and then whether the loss is still a number."""
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        # trainer.barebones makes it 0.
        if every and (batch_idx + 1) % every == 0:
            self._stop_if_diverged()

    def on_train_epoch_end(self) -> None:
        """Log the mean loss of the epoch over all ranks."""
        self._stop_if_diverged()
        self.model.fill_unknown_rows()
        sums = self._sums_of_all_ranks()
        self._log_after_epoch({"train/loss": (sums[0] / sums[1]).float()})

    def _log_after_epoch(self, values: Mapping[str, Any]) -> None:
        """Log numbers of an epoch at the last optimizer step, however many steps a batch takes."""
        if getattr(self.trainer, "barebones", False):
            return
        if self.trainer.state.fn != TrainerFn.FITTING:
            self.log_dict(dict(values))
            return
        # Lightning would put the points at its own count of batches, which may be blocks of steps.
        self.log_dict(dict(values), logger=False)
        if not self.trainer.sanity_checking:
            plain = {name: float(value) for name, value in values.items()}
            for logger in self.trainer.loggers:
                point = {**plain, "epoch": float(self.current_epoch)}
                logger.log_metrics(point, step=self.steps_done - 1)

    def _sums_of_all_ranks(self) -> Tensor:
        """The loss of the epoch so far, and its rows, float64 [2]."""
        sums = torch.stack([self._loss_sum, self._loss_sum.new_tensor(self._rows_seen)])
        # A trial of a batch has no trainer.
        if distributed.is_available() and distributed.is_initialized():
            sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        return sums

    def divergence(self) -> str | None:
        """Why the losses of the epoch so far must end the training; None: they need not."""
        # All ranks stop or none: one that went on would wait for the others for ever.
        total, rows = self._sums_of_all_ranks().tolist()
        loss = total / max(rows, 1)
        if not math.isfinite(loss):
            return NO_NUMBER
        most = self.loss.exploded(self.rating_range)
        if most is not None and loss > most:
            return (
                f"the training loss is exploding: {loss:.3g}, where predictions wrong by "
                f"{EXPLODED} times the scale would have {most:.3g}"
            )
        return None

    def broken_weights(self) -> str | None:
        """Why the weights must end the training; None: they are numbers."""
        # A sum that is finite has only finite terms, and needs no tensor of its own.
        finite = all(math.isfinite(float(_local(p).sum())) for p in self.parameters())
        return None if finite else "the weights are no longer numbers"

    def _stop_if_diverged(self) -> None:
        why = self.divergence() if self.stops_on_divergence else None
        if why is not None:
            self._stop(why)

    def _stop(self, why: str) -> NoReturn:
        raise self.diverged(why, self.steps_done, self.current_epoch)

    def diverged(self, why: str, steps: int, epochs: int) -> TrainingError:
        """The error of a training that cannot go on, after so many whole steps and epochs."""
        return TrainingError(
            f"{why} at step {steps} (epoch {epochs + 1}); {self.advice_on_divergence()}"
        )

    def advice_on_divergence(self) -> str:
        """What to do when the loss is no longer a number."""
        raise NotImplementedError

    @contextmanager
    def measuring(
        self, model: RatingModel, vocabularies: Mapping[Side, Vocabulary]
    ) -> Iterator[None]:
        """Meanwhile another model is measured, which knows more ids.

        Args:
            model: with the rows of this one, and further ones behind them.
            vocabularies: raw ids of its rows.
        """
        before = self.model, self._vocabularies
        warm = vocabularies["users"].warm, vocabularies["items"].warm
        measured = self.val_metrics.of_ratings, self.test_metrics.of_ratings
        try:
            self.model, self._vocabularies = model, vocabularies
            for metrics in measured:
                metrics.warm = warm
            yield
        finally:
            self.model, self._vocabularies = before
            for metrics in measured:
                metrics.warm = None

    def on_validation_start(self) -> None:
        """Unknown users and items are predicted from the known ones."""
        self.model.fill_unknown_rows()

    def validation_step(self, batch: RatingBatch | RankingBatch, batch_idx: int) -> None:
        """Add a batch to the validation metrics."""
        if isinstance(batch, RankingBatch):
            self._rank(batch, "val")
            return
        predicted = self.model(batch)
        compared = predicted
        if self.loss.of == "scores":
            embedded = self.model.embed(batch)
            compared = self.model.score(embedded.rows, batch, embedded.effects)
        self.val_loss.update(compared, batch.ratings)
        self.val_metrics.update(predicted.clamp(*self.rating_range), batch)

    def on_validation_epoch_end(self) -> None:
        """Log and reset the validation metrics: val/rmse, val/mae, and val/loss (not clamped).

        Where it ranks, those of `RankingMetrics`: val/ndcg@10 and so on.
        """
        if self.ranks:
            self._log_after_epoch(self._rankings_of("val"))
            return
        self._log_after_epoch(self.validated())

    def validated(self) -> dict[str, Tensor]:
        """The metrics of the validation batches so far, which are then forgotten."""
        found = {"val/loss": self.val_loss.compute(), **self.val_metrics.compute()}
        self.val_loss.reset()
        self.val_metrics.reset()
        return found

    def test_step(self, batch: RatingBatch | RankingBatch, batch_idx: int) -> None:
        """Add a batch to the test metrics."""
        if isinstance(batch, RankingBatch):
            self._rank(batch, "test")
            return
        self.test_metrics.update(self.model(batch).clamp(*self.rating_range), batch)

    def on_test_epoch_end(self) -> None:
        """Log and reset the test metrics: test/rmse, test/mae, of warm, cold and unknown rows."""
        if self.ranks:
            self.log_dict(self._rankings_of("test"))
            return
        self.log_dict(self.test_metrics.compute())
        self.test_metrics.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a resumed run and a later user need beyond Lightning's own state.

        Raises:
            TrainingError: the last step made a parameter that is not a number, before a loss could
                show it; the checkpoint that was there stays.
        """
        why = self.broken_weights()
        if why is not None:
            self._stop(why)
        checkpoint.update(self.about_model(self.given_data))
        here = 0.0 if self._began is None else time.perf_counter() - self._began
        checkpoint["fit_seconds"] = self.seconds_before + here
        checkpoint["epoch_sums"] = {"loss": self._loss_sum, "rows_seen": self._rows_seen}
        checkpoint["rng_state"] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            checkpoint["rng_state"]["cuda"] = torch.cuda.get_rng_state_all()

    def about_model(self, data: RatingDataModule | None) -> dict[str, Any]:
        """What a checkpoint keeps beside the weights, for whoever uses them."""
        about = {
            "vocabularies": {side: each.state() for side, each in self.vocabularies.items()},
            "config": dict(self.config),
            "rating_range": list(self.rating_range),
        }
        return about if data is None else {**about, "data_fingerprint": data.fingerprint}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back the sums of the epoch under way and the state of torch's random numbers."""
        self.check_vocabularies(checkpoint)
        self.seconds_before = checkpoint.get("fit_seconds", 0.0)
        sums = checkpoint["epoch_sums"]
        # Of earlier versions, which knew one loss.
        loss = sums["squared_errors"] if "squared_errors" in sums else sums["loss"]
        self._loss_sum = loss.to(torch.float64)
        self._rows_seen = sums["rows_seen"]
        state = checkpoint["rng_state"]
        with random_numbers:
            torch.set_rng_state(state["cpu"].cpu())
        if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
            torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])

    def load_trained(self, checkpoint: dict[str, Any], path: Path) -> None:
        """Take the weights of a checkpoint.

        Args:
            checkpoint: its content.
            path: where it came from, for error messages.

        Raises:
            CheckpointError: it is of another model or of other data.
        """
        try:
            self.check_vocabularies(checkpoint)
            self.load_state_dict(checkpoint["state_dict"])
        except (CheckpointError, RuntimeError) as error:
            raise CheckpointError(f"{path}: {error}") from error

    def check_vocabularies(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint whose rows are of other ids.

        Raises:
            CheckpointError: the message says how many either knows.
        """
        for side, vocabulary in self.vocabularies.items():
            found = Vocabulary.from_state(checkpoint["vocabularies"][side])
            if found != vocabulary:
                raise CheckpointError(_other_data("the checkpoint", found, vocabulary, side))


def _other_data(what: str, known: Vocabulary, found: Vocabulary, side: Side) -> str:
    return (
        f"{what} belongs to other data: it knows {len(known) - 1} {side}, the training part here "
        f"has {len(found) - 1}, and they are not the same ids; use the data and the split that "
        "the run was trained with"
    )


def _local(parameter: Tensor) -> Tensor:
    """This rank's part of a table that is shared out by rows; else all of it."""
    part: Tensor = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    return part.detach()
