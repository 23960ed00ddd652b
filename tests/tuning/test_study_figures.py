"""Pictures of studies: axes as parameters were drawn, names apart, a warning where it is due."""

from itertools import pairwise

import numpy as np
import optuna
import pytest
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from lightning_collab.tuning.study_axes import height, heights, scale_axis
from lightning_collab.tuning.study_figures import TRUSTED, draw_study, few_trials

SPACE = {
    "model.factors": IntDistribution(8, 128, log=True),
    "optimizer.weight_decay": FloatDistribution(1e-4, 1, log=True),
    "optimizer.groups.biases.weight_decay": FloatDistribution(0, 1),
    "data.batch_size": CategoricalDistribution([256, 512, 1024, 2048]),
}


def study_of(complete, objectives=1, pruned=1):
    study = optuna.create_study(directions=["minimize", "maximize"][:objectives])
    random = np.random.default_rng(0)
    for number in range(complete + pruned):
        ended = number < complete
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if ended else TrialState.PRUNED,
                values=random.random(objectives).tolist() if ended else None,
                params={
                    "model.factors": int(random.integers(8, 129)),
                    "optimizer.weight_decay": float(10 ** random.uniform(-4, 0)),
                    "optimizer.groups.biases.weight_decay": float(random.random()),
                    "data.batch_size": int(random.choice([256, 512, 1024, 2048])),
                },
                distributions=SPACE,
                intermediate_values={} if objectives > 1 else {1: 0.9, 2: 0.8},
            )
        )
    return study


@pytest.mark.parametrize(("complete", "warned"), [(2, True), (29, True), (30, False)])
def test_few_trials_are_said_where_importances_are_shown(complete, warned, tmp_path):
    figures = {each.path.stem: each for each in draw_study(study_of(complete), ["rmse"], tmp_path)}
    expected = f"{complete} trials: too few to trust importances" if warned else ""
    assert figures["importance"].warning == expected == few_trials(complete)
    assert not any(each.warning for name, each in figures.items() if name != "importance")
    assert TRUSTED == 30


def test_every_picture_is_a_file_and_a_part_of_the_page(tmp_path):
    figures = draw_study(study_of(5), ["rmse"], tmp_path)
    names = ["history", "importance", "parallel", "slices", "learning_curves"]
    assert [each.path.stem for each in figures] == names
    for each in figures:
        assert each.path.read_bytes().startswith(b"\x89PNG")
        assert each.uri.startswith("data:image/svg+xml;base64,")


def test_pictures_of_two_objectives(tmp_path):
    figures = draw_study(study_of(6, objectives=2, pruned=0), ["rmse", "ndcg"], tmp_path)
    names = [each.path.stem for each in figures]
    assert names == [
        *("history-1", "importance-1", "parallel-1", "slices-1"),
        *("history-2", "importance-2", "parallel-2", "slices-2"),
        "pareto_front",
    ]
    assert figures[4].title == "Optimization history of ndcg"


def test_a_study_whose_trials_reported_nothing_has_the_other_pictures(tmp_path):
    study = optuna.create_study()
    for value in (0.1, 0.2):
        study.add_trial(create_trial(value=value))
    assert [each.path.stem for each in draw_study(study, ["rmse"], tmp_path)] == ["history"]
    assert draw_study(optuna.create_study(), ["rmse"], tmp_path) == []


@pytest.mark.parametrize("how", SPACE.values())
def test_axes_are_on_the_scale_of_the_drawing_and_labels_stand_apart(how):
    figure = Figure(figsize=(2.7, 2.5), layout="constrained")
    axes = figure.add_subplot()
    scale_axis(axes, how)
    assert axes.get_xscale() == ("log" if getattr(how, "log", False) else "linear")
    figure.draw_without_rendering()
    texts = [text for text in axes.get_xticklabels() if text.get_text()]
    low, high = axes.get_xlim()
    boxes = [text.get_window_extent() for text in texts if low <= text.get_position()[0] <= high]
    assert len(boxes) >= 2
    assert not any(one.x1 > two.x0 for one, two in pairwise(boxes))


def test_heights_are_even_on_the_scale_of_the_drawing():
    log = FloatDistribution(1e-4, 1, log=True)
    assert height(log, 1e-2) == pytest.approx(0.5)
    assert heights(log) == [(0, "0.0001"), (0.5, pytest.approx("0.01")), (1, "1")]
    assert height(CategoricalDistribution(["a", "b", "c"]), "b") == 0.5
    assert heights(IntDistribution(8, 128, log=True)) == [
        (0, "8"), (pytest.approx(0.5), "32"), (1, "128")
    ]  # fmt: skip
    assert height(IntDistribution(3, 3), 3) == 0.5
