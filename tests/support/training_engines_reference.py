"""The same epoch by autograd and by fused kernels, from the same weights and in the same order."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import polars as pl
import torch
from scipy.sparse import random_array

from lightning_collab.config import RunConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.features import FeatureBlock, TimeEffect
from lightning_collab.models import DatasetStatistics, build_model
from lightning_collab.training.fused.fused_optimizer import FusedSteps, StepBlock
from lightning_collab.training.fused.net_kernel import FusedNet
from lightning_collab.training.modules.rating_module import RatingModule
from lightning_collab.training.optimizers import parameter_groups
from lightning_collab.training.schedules import build_schedule

USERS, ITEMS = 40, 90
# Seed of what is drawn for the first batch; that of each later one is higher by 1.
DRAWS = 12345


@dataclass
class Epoch:
    """What is left after an epoch."""

    weights: dict[str, torch.Tensor]
    optimizer: dict
    losses: np.ndarray


def made_up_ratings(count: int, seed: int = 0) -> RatingBatch:
    """Skewed: a few users and items have most ratings, some have none."""
    random = np.random.default_rng(seed)
    users = 1 + (random.random(count) ** 3 * (USERS - 2)).astype(np.int32)
    items = 1 + (random.random(count) ** 3 * (ITEMS - 2)).astype(np.int32)
    ratings = random.integers(1, 6, count).astype(np.float32)
    day = random.integers(100, 130, count).astype(np.int32)
    return RatingBatch(*map(torch.from_numpy, (users, items, ratings, day)))


def made_up_features(*kinds: str) -> dict:
    """What `DatasetStatistics` has beside ids; some rows have no feature, some features no row."""
    known = made_up_ratings(60, seed=9)
    users, items, day = known.users.numpy(), known.items.numpy(), known.day.numpy()
    made = {
        "users": {"user_features": (block_of("history", USERS, 25), block_of("age", USERS, 3))},
        "items": {"item_features": (block_of("genres", ITEMS, 7),)},
        "time": {
            "time_effects": (
                TimeEffect.fit("day", "users", 2, users, day),
                TimeEffect.fit("month", "items", 30, items, day),
            )
        },
    }
    return {key: value for kind in kinds for key, value in made[kind].items()}


def block_of(name: str, rows: int, width: int) -> FeatureBlock:
    matrix = random_array((rows, width), density=0.15, format="csr", dtype=np.float32, rng=width)
    # As the data's blocks are: the squares of a row sum to 1.
    squares = np.maximum((matrix**2).sum(1), 1e-9)
    matrix.data /= np.sqrt(squares).repeat(np.diff(matrix.indptr)).astype(np.float32)
    return FeatureBlock(name, matrix, pl.Series(range(width)))


def module_of(config: RunConfig, steps: int, kind: torch.dtype, features: dict) -> RatingModule:
    torch.manual_seed(config.seed)
    statistics = DatasetStatistics(
        USERS, ITEMS, rating_range=(1.0, 5.0), mean_rating=3.2, **features
    )
    module = RatingModule(
        build_model(config.model, statistics),
        optimizer=config.optimizer,
        scheduler=config.scheduler,
        training=config.training,
        clip=config.trainer.gradient_clip_val,
        schedule=build_schedule(
            config.scheduler,
            lr=config.optimizer.lr,
            steps_per_epoch=steps,
            total_steps=steps * config.trainer.max_epochs,
        ),
        rating_range=(1.0, 5.0),
        vocabularies={},
    ).to(kind)
    module.steps_per_epoch = steps
    module._trainer = SimpleNamespace(world_size=1)
    return module


def batches_of(ratings: RatingBatch, size: int, kind: torch.dtype) -> list[RatingBatch]:
    parts = zip(*(torch.split(each, size) for each in ratings[:4]), strict=True)
    return [
        RatingBatch(u, i, r.to(kind), day, 0, len(r), DRAWS + k)
        for k, (u, i, r, day) in enumerate(parts)
    ]


def by_autograd(config, ratings, size, kind, state=None, first=0, features=None) -> Epoch:
    batches = batches_of(ratings, size, kind)
    module = module_of(config, len(batches), kind, features or {})
    optimizer = module.configure_optimizers()
    if state is not None:
        take(state, module, optimizer)
    losses = []
    for step, batch in enumerate(batches, start=first):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * module.schedule(step)
        before = module._loss_sum.item()
        loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        if config.trainer.gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(module.parameters(), config.trainer.gradient_clip_val)
        optimizer.step()
        losses.append(module._loss_sum.item() - before)
    return Epoch(module.model.state_dict(), optimizer.state_dict(), np.array(losses))


def by_kernels(
    config, ratings, size, kind, state=None, first=0, features=None, step_blocks=1, lazy=False
) -> Epoch:
    steps = -(-len(ratings.ratings) // size)
    module = module_of(config, steps, kind, features or {})
    groups = parameter_groups(module.model, config.optimizer)
    clip = config.trainer.gradient_clip_val
    fused = FusedNet if config.model.name == "embedding_net" else FusedSteps
    optimizer = fused(groups, config.optimizer, module.model, lazy=lazy, clip=clip)
    if state is not None:
        take(state, module, optimizer)
    losses = []
    per_stretch = -(-steps // step_blocks)
    for start in range(0, steps, per_stretch):
        mine = slice(start * size, (start + per_stretch) * size)
        count = min(per_stretch, steps - start)
        factors = np.array([module.schedule(first + start + k) for k in range(count)])
        users, items, values, day = (each[mine] for each in ratings[:4])
        draws = DRAWS + start + count - 1
        batch = RatingBatch(users, items, values.to(kind), day, draw_seed=draws)
        step_block = StepBlock(batch, size, factors)
        optimizer.step(closure=lambda step_block=step_block: step_block)
        assert optimizer.losses.taken == count
        losses.extend(optimizer.losses.squared_errors)
    return Epoch(module.model.state_dict(), optimizer.state_dict(), np.array(losses))


def take(state: Epoch, module: RatingModule, optimizer: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        module.model.load_state_dict(state.weights)
    optimizer.load_state_dict(state.optimizer)


def difference(one: Epoch, two: Epoch) -> float:
    """The largest of any weight and of anything that the optimizer remembers."""
    apart = [(one.weights[name] - two.weights[name]).abs().max() for name in one.weights]
    assert one.optimizer["state"].keys() == two.optimizer["state"].keys()
    for place, state in one.optimizer["state"].items():
        other = two.optimizer["state"][place]
        for name, value in state.items():
            if value is None:
                assert other.get(name) is None
            else:
                assert value.dtype == other[name].dtype
                assert value.shape == other[name].shape
                apart.append((value - other[name]).abs().max())
    return max(each.item() for each in apart)
