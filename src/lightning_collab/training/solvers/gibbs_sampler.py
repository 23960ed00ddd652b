"""The chain as an optimizer, so that steps, checkpoints and resume work as for any other model."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import psutil
import torch

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.features import FeatureSet
from lightning_collab.errors import TrainingError
from lightning_collab.models.bayesian_factors import SAMPLED, BayesianFactors, Sample
from lightning_collab.training.solvers.gibbs.chain import ChainSettings, GibbsChain, Observations
from lightning_collab.training.solvers.gibbs.conditionals import Floats
from lightning_collab.training.solvers.gibbs.priors import RowNoise


class GibbsSampler(torch.optim.Optimizer):
    """One sweep of Gibbs sampling at each step, whose draw the model keeps.

    All that is drawn depends on the seed and the number of the sweep alone, whatever the number of
    threads, so that the state is that of the chain: no generator has one.

    Args:
        model: takes the samples.
        features: of its users and items, and its effects of time.
        seed: of the chain.
        threads: of the kernels; None: all there are.
    """

    def __init__(
        self, model: BayesianFactors, features: FeatureSet, *, seed: int, threads: int | None
    ) -> None:
        super().__init__(model.parameters(), {"lr": 1.0})
        self._model = model
        self._features = features
        self._seed = seed
        self._threads = threads
        self._saved: dict[str, Any] | None = None
        self.chain: GibbsChain | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One sweep.

        Args:
            closure: gives the batch of all training ratings, the same at each step.

        Raises:
            TrainingError: the chain has left the finite numbers.
        """
        assert closure is not None
        if self.chain is None:
            self.chain = self._start(closure())
            if self._saved is not None:
                self.chain.restore(_as_arrays(self._saved))
                self._saved = None
        most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
        numba.set_num_threads(most if self._threads is None else min(self._threads, most))
        chain = self.chain
        try:
            chain.sweep()
        except (np.linalg.LinAlgError, ValueError) as error:
            raise TrainingError(_diverged(chain.sweeps + 1)) from error
        if not np.isfinite(chain.squared_error):
            raise TrainingError(_diverged(chain.sweeps))
        self._model.take(_sample(chain), chain.sweeps - 1)

    def _start(self, batch: RatingBatch) -> GibbsChain:
        config = self._model.config
        columns = {"users": batch.users.cpu().numpy(), "items": batch.items.cpu().numpy()}
        days = None if batch.day is None else batch.day.cpu().numpy()
        effects = {}
        for effect in self._features.time:
            assert days is not None
            effects[effect.name] = (effect.rows(columns[effect.of], days) - 1).astype(np.int32)
        return GibbsChain(
            Observations(columns["users"], columns["items"], batch.ratings.cpu().numpy(), effects),
            len(self._model.user_noise),
            len(self._model.item_noise),
            {block.name: block.matrix.tocsc() for block in self._features.users},
            {block.name: block.matrix.tocsc() for block in self._features.items},
            ChainSettings(
                factors=config.factors,
                user_noise=config.user_noise,
                item_noise=config.item_noise,
                joint_regression=config.joint_regression,
                seed=self._seed,
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """The chain's state; empty before the first sweep."""
        state = self._saved if self.chain is None else _as_tensors(self.chain.state())
        return {"state": {}, "param_groups": [], "chain": state or {}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where another chain over the same ratings stood."""
        self.chain = None
        self._saved = state_dict["chain"] or None


def _sample(chain: GibbsChain) -> Sample:
    """The latest draw in rating units; a product of factors takes its unit half from each side."""
    unit = np.full(chain.settings.factors + 1, np.sqrt(chain.spread))
    unit[0] = chain.spread
    users, items = chain.users, chain.items
    values = [effect.values for effect in chain.effects.values()]
    return Sample(
        users=users.rows * unit,
        items=items.rows * unit,
        effects=np.concatenate([np.zeros(0), *values]) * chain.spread,
        user_covariance=np.linalg.inv(users.prior.precision) * np.outer(unit, unit),
        item_covariance=np.linalg.inv(items.prior.precision) * np.outer(unit, unit),
        noise_variance=chain.spread**2 / chain.precision,
        user_noise=_noise_variances(users.noise),
        item_noise=_noise_variances(items.noise),
    )


def _noise_variances(noise: RowNoise) -> Floats:
    variances = 1.0 / noise.multiples
    if noise.learnt:
        # The mean of 1/g for g from Gamma(shape, shape), where there is one.
        variances[0] = noise.shape / max(noise.shape - 1.0, 0.5)
    return variances


def _diverged(sweep: int) -> str:
    return (
        f"the chain has diverged: its state is no longer made of finite numbers in sweep {sweep}; "
        "see from the curves of chain/... what diverged, and lower model.factors or try another "
        "seed; the last checkpoint is of a sound state"
    )


def _as_tensors(state: dict[str, Any]) -> Any:
    """A state as tensors, numbers and dictionaries, copied, as checkpoints hold them."""
    return _converted(state, np.ndarray, lambda array: torch.from_numpy(array.copy()))


def _as_arrays(state: dict[str, Any]) -> Any:
    """The reverse of `_as_tensors`."""
    return _converted(state, torch.Tensor, lambda tensor: tensor.cpu().numpy().copy())


def _converted(state: Any, kind: type, convert: Callable[[Any], Any]) -> Any:
    if isinstance(state, dict):
        return {name: _converted(value, kind, convert) for name, value in state.items()}
    return convert(state) if isinstance(state, kind) else state


GIBIBYTE = 1 << 30


def check_memory(model: BayesianFactors, features: FeatureSet) -> None:
    """Refuse what cannot fit: samples, or blocks of features whose links are drawn jointly.

    Args:
        model: that keeps the samples.
        features: of its users and items.

    Raises:
        TrainingError: more is needed than is free; the message names the key to change.
    """
    free = psutil.virtual_memory().available
    samples = sum(getattr(model, name).numel() * 4 for name in SAMPLED)
    if samples > free:
        raise TrainingError(
            f"model.samples={model.config.samples} samples of this model take "
            f"{samples / GIBIBYTE:.1f} GiB, and {free / GIBIBYTE:.1f} GiB are free: keep fewer"
        )
    blocks = {
        f"features.{side}.{block.name}": block.matrix.shape
        for side, each in (("users", features.users), ("items", features.items))
        for block in each
    }
    for name, (rows, columns) in blocks.items():
        smaller = min(rows, columns)
        if smaller > model.config.joint_regression:
            continue
        # The Gram matrix, its eigenvectors, the work space of the solver, and the basis.
        needed = 8 * (4 * smaller**2 + rows * smaller)
        if needed > free - samples:
            raise TrainingError(
                f"{name}: to draw its side-information regression of {rows:,} x {columns:,} "
                f"jointly takes {needed / GIBIBYTE:.1f} GiB, and "
                f"{(free - samples) / GIBIBYTE:.1f} GiB are free: set model.joint_regression "
                f"below {smaller}, and it is drawn feature by feature"
            )
