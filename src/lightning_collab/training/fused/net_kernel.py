"""Many optimizer steps of the network of both embeddings, as one step of a torch optimizer.

torch multiplies matrices and draws the masks, so that they are those of autograd; all between is in
three kernels a step.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_collab.kernel_cache import INNER, KERNEL, cached_njit
from lightning_collab.models.embedding_net import EmbeddingNet
from lightning_collab.training.fused.adam_rule import adam_step
from lightning_collab.training.fused.batch_rows import (
    Table,
    add,
    catch_up,
    dot,
    enter,
    gradient_squares,
    leave,
    penalise,
    pull,
    update,
)
from lightning_collab.training.fused.fused_optimizer import FusedSteps, StepBlock
from lightning_collab.training.fused.sgd_rule import sgd_step
from lightning_collab.training.fused.update_rule import (
    ADAM,
    FROZEN,
    KIND,
    ROW_DECAY,
    UpdateRule,
    frozen_rule,
)

Array = NDArray[Any]


class FusedNet(FusedSteps):
    """SGD or Adam on an `EmbeddingNet` that is told ids alone; see `FusedSteps`."""

    _model: EmbeddingNet

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._plain = False
        self._between: dict[str, Tensor] = {}

    def _take_batches(self, step_block: StepBlock, squared_errors: Array, penalties: Array) -> int:
        model, size, batch = self._model, step_block.batch_size, step_block.ratings
        users = self._side("users", batch.users.numpy(), size)
        items = self._side("items", batch.items.numpy(), size)
        rules = {
            group["name"]: self._rule(group, step_block.factors) for group in self.param_groups
        }
        layers = self._layers(rules)
        weight = model.hidden.weight.detach()
        of_weight = torch.empty_like(weight)
        gradients = (of_weight.view(-1).numpy(), *(np.empty_like(t.weight) for t in layers[0][1:]))
        whole = self._buffers(min(size, len(batch.ratings)))
        steps, ratings = len(squared_errors), batch.ratings.numpy()
        drops = model.embedding_dropout, model.hidden_dropout
        by = tuple(1 / (1 - each.probability) for each in drops)
        rows = (users, items, rules["embeddings"], frozen_rule())
        for step in range(steps):
            first, last = step * size, min((step + 1) * size, len(ratings))
            pairs, units, of_pairs, *masks = (each[: last - first] for each in whole)
            for mask, drop in zip(masks, drops, strict=True):
                # The seed of a block is that of its last batch.
                drop.draw(mask, batch.draw_seed - (steps - 1 - step))
            kept = tuple(each.numpy() for each in masks)
            counts = _gather(*rows, first, last, self._lazy, step, kept[0], by[0], pairs.numpy())
            torch.mm(pairs, weight.T, out=units)
            squared_errors[step] = _judge(
                ratings[first:last], units.numpy(), kept[1], by[1], layers[0], gradients,
                model.output.constants(),
            )  # fmt: skip
            taken = bool(np.isfinite(squared_errors[step]))
            if taken:
                # `units` has their gradients now.
                torch.mm(units.T, pairs, out=of_weight)
                torch.mm(units, weight, out=of_pairs)
            penalty = _move(
                *rows, counts, first, last, step, taken, kept[0], by[0], of_pairs.numpy(), layers,
                gradients, self._clip, len(penalties) > 0,
            )  # fmt: skip
            penalties[step : step + 1] = penalty
            if not taken:
                return step
        if not self._lazy:
            _finish(*rows, steps)
        return steps

    def _layers(
        self, rules: dict[str, UpdateRule]
    ) -> tuple[tuple[Table, ...], tuple[UpdateRule, ...]]:
        """Weights and bias of the hidden and of the last layer, flat, and the rule of each."""
        tables, of = [], []
        for name, layer in (("hidden", self._model.hidden), ("output", self._model.last)):
            for parameter in (layer.weight, layer.bias):
                tables.append(Table(*(each.reshape(-1) for each in self._table(parameter))))
                of.append(rules[name])
        return tuple(tables), tuple(of)

    def _buffers(self, rows: int) -> list[Tensor]:
        """Pairs, hidden units, gradients of pairs, and the masks of pairs and of units."""
        weight = self._model.hidden.weight
        if not self._between or len(self._between["pairs"]) != rows:
            self._between = {
                name: weight.new_empty(rows, weight.shape[1 - place])
                for name, place in (
                    *(("pairs", 0), ("units", 1), ("of_pairs", 0)),
                    *(("kept_pairs", 0), ("kept_units", 1)),
                )
            }
        return list(self._between.values())


@cached_njit(**KERNEL)
def _gather(users, items, rule, nothing, first, last, lazy, step, kept, by, pairs):  # type: ignore[no-untyped-def]
    """Both embeddings of each rating side by side, thinned out; returns the rows of a batch."""
    user_rows, item_rows = enter(users, first, last), enter(items, first, last)
    if not lazy:
        catch_up(users, users.rows, user_rows, rule, nothing, step)
        catch_up(items, items.rows, item_rows, rule, nothing, step)
    _thin_out(users.ids[first:last], users.factors.weight, kept, by, pairs, 0)
    width = users.factors.weight.shape[1]
    _thin_out(items.ids[first:last], items.factors.weight, kept, by, pairs, width)
    return user_rows, item_rows


@cached_njit(**INNER)
def _thin_out(ids, table, kept, by, pairs, start):  # type: ignore[no-untyped-def]
    scale = table.dtype.type(by)
    for n in range(ids.shape[0]):
        row, target, mask = table[ids[n]], pairs[n], kept[n]
        for f in range(row.shape[0]):
            target[start + f] = row[f] * mask[start + f] * scale


@cached_njit(**KERNEL)
def _judge(ratings, units, kept, by, layers, gradients, output):  # type: ignore[no-untyped-def]
    """From products to gradients of hidden units, in place; returns the sum of squared errors."""
    bias, weight, last_bias = layers[1].weight, layers[2].weight, layers[3].weight
    of_bias, of_weight, of_last = gradients[1], gradients[2], gradients[3]
    kind = ratings.dtype.type
    zero, one, low, span = kind(0), kind(1), kind(output.low), kind(output.span)
    scale, twice_mean = kind(by), kind(2.0 / ratings.shape[0])
    of_bias[:], of_weight[:], of_last[:] = zero, zero, zero
    loss = 0.0
    for n in range(ratings.shape[0]):
        unit, mask = units[n], kept[n]
        for f in range(unit.shape[0]):
            raw = unit[f] + bias[f]
            unit[f] = (raw if raw > zero else zero) * mask[f] * scale
            # What is NaN must not become 0.
            unit[f] = raw if np.isnan(raw) else unit[f]
        raw = dot(unit, weight) + last_bias[0]
        if output.sigmoid:
            share = one / (one + np.exp(-raw))
            error = low + share * span - ratings[n]
            slope = twice_mean * error * span * share * (one - share)
        else:
            error = low + raw - ratings[n]
            slope = twice_mean * error
        loss += np.float64(error) * np.float64(error)
        of_last[0] += slope
        add(of_weight, slope, unit)
        for f in range(unit.shape[0]):
            unit[f] = slope * weight[f] * mask[f] * scale if unit[f] > zero else zero
            of_bias[f] += unit[f]
    return loss


@cached_njit(**KERNEL)
def _move(  # type: ignore[no-untyped-def]
    users, items, rule, nothing, counts, first, last, step, taken, kept, by, of_pairs, layers,
    gradients, clip, with_penalty,
):  # fmt: skip
    """Take the step; returns its penalty, where that is wanted."""
    user_rows, item_rows = counts
    penalty, scale, of_each, of_all = 0.0, 1.0, 1.0 / (last - first), 1.0
    if taken:
        _hand_back(users, first, last, kept, by, of_pairs, 0)
        _hand_back(items, first, last, kept, by, of_pairs, users.factors.weight.shape[1])
        if clip > 0 or with_penalty:
            penalty = penalise(users, user_rows, rule, nothing, of_each)
            penalty += penalise(items, item_rows, rule, nothing, of_each)
            for n in range(len(gradients)):
                decay = layers[1][n].numbers[ROW_DECAY]
                penalty += pull(gradients[n], layers[0][n].weight, decay)
            of_each = of_all = 0.0  # the penalty is in the gradient now
        if clip > 0:
            squares = gradient_squares(users, user_rows, rule, nothing)
            squares += gradient_squares(items, item_rows, rule, nothing)
            for n in range(len(gradients)):
                if layers[1][n].numbers[KIND] != FROZEN:
                    squares += np.float64(dot(gradients[n], gradients[n]))
            scale = min(1.0, clip / (np.sqrt(squares) + 1e-6))
        update(users, user_rows, rule, nothing, step, scale, of_each)
        update(items, item_rows, rule, nothing, step, scale, of_each)
        for n in range(len(gradients)):
            _move_layer(layers[0][n], layers[1][n], gradients[n], step, scale, of_all)
    leave(users, user_rows, step + taken)
    leave(items, item_rows, step + taken)
    return penalty


@cached_njit(**INNER)
def _hand_back(side, first, last, kept, by, of_pairs, start):  # type: ignore[no-untyped-def]
    ids, slot, gradients = side.ids[first:last], side.slot, side.factor_gradients
    scale = gradients.dtype.type(by)
    for n in range(ids.shape[0]):
        target, source, mask = gradients[slot[ids[n]]], of_pairs[n], kept[n]
        for f in range(target.shape[0]):
            target[f] += source[start + f] * mask[start + f] * scale


@cached_njit(**INNER)
def _move_layer(layer, rule, gradient, step, scale, of_all):  # type: ignore[no-untyped-def]
    numbers, steps = rule.numbers, rule.steps
    decay = numbers[ROW_DECAY] * of_all
    weight, first, second = layer.weight, layer.first, layer.second
    if numbers[KIND] == ADAM:
        adam_step(weight, first, second, gradient, numbers, steps, step, scale, decay)
    elif numbers[KIND] != FROZEN:
        sgd_step(weight, first, gradient, steps, rule.chain, step, scale, decay)


@cached_njit(**KERNEL)
def _finish(users, items, rule, nothing, steps):  # type: ignore[no-untyped-def]
    """Every row takes what it has missed."""
    catch_up(users, users.all_rows, users.all_rows.shape[0], rule, nothing, steps)
    catch_up(items, items.all_rows, items.all_rows.shape[0], rule, nothing, steps)
