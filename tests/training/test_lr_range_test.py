import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_collab.errors import ConfigError, TrainingError
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.lr_range_test import (
    longest_valley,
    run_lr_range_test,
    smoothed_losses,
    suggestions,
    write_range_test,
)
from lightning_collab.training.run import train

QUICK = ("callbacks.progress_bar=false", "logger=none", "data.batch_size=64")


@pytest.fixture
def tried(small_table, run_config):
    def run(*overrides):
        config = run_config(*QUICK, *overrides)
        return run_lr_range_test(config, data_of(small_table, config))

    return run


def data_of(table, config):
    return load_data(config, table)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("model", ["embedding_dot_bias", "embedding_net"])
def test_rates_rise_in_equal_ratios_until_the_loss_explodes(tried, optimizer, model):
    found = tried(
        f"optimizer={optimizer}",
        f"model={model}",
        "model.output=linear",
        "lr_range_test.end_lr=1e4",
    )
    assert found.rates[0] == pytest.approx(1e-5)
    ratios = found.rates[1:] / found.rates[:-1]
    assert ratios == pytest.approx((1e4 / 1e-5) ** (1 / 199))
    assert 10 < len(found.rates) <= 200
    assert len(found.losses) == len(found.smoothed) == len(found.rates)
    assert np.isfinite(found.losses).all()


def test_the_loss_is_that_of_training_with_those_rates(small_table, run_config, tried):
    """An independent loop with plain torch, two groups of their own rates."""
    overrides = ("optimizer=sgd", "optimizer.groups.biases.lr_scale=0.5")
    found = tried(*overrides, "lr_range_test.steps=20", "lr_range_test.end_lr=1.0")
    config = run_config(*QUICK, *overrides, "training.engine=eager")
    data = data_of(small_table, config)
    module = build_module(config, data)
    optimizer = module.configure_optimizers()
    batches = data.train_dataloader()
    losses, epoch = [], 0
    while len(losses) < len(found.losses):
        batches.set_epoch(epoch)
        epoch += 1
        for batch in batches:
            if len(losses) == len(found.losses):
                break
            rate = found.rates[len(losses)]
            for group, scale in zip(optimizer.param_groups, (1.0, 0.5), strict=True):
                group["lr"] = rate * scale
            loss = (module(batch) - batch.ratings).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert found.losses == pytest.approx(losses, rel=1e-5)


def test_nothing_of_the_run_is_moved_bit_by_bit(small_table, run_config):
    config = run_config(*QUICK, "model=embedding_net")
    data = data_of(small_table, config)
    module = build_module(config, data)
    optimizer = module.configure_optimizers()
    batch = next(iter(data.train_dataloader()))
    (module(batch) - batch.ratings).square().mean().backward()
    optimizer.step()
    state = {
        "weights": {name: value.clone() for name, value in module.state_dict().items()},
        "moments": [each["exp_avg"].clone() for each in optimizer.state.values()],
        "rates": [group["lr"] for group in optimizer.param_groups],
        "random": torch.get_rng_state(),
        "step": module.global_step,
    }
    run_lr_range_test(config, data)
    after = module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in state["weights"].items())
    moments = [each["exp_avg"] for each in optimizer.state.values()]
    assert all(map(torch.equal, moments, state["moments"]))
    assert [group["lr"] for group in optimizer.param_groups] == state["rates"]
    assert torch.equal(torch.get_rng_state(), state["random"])
    assert module.global_step == state["step"]


def test_a_run_that_looks_first_is_the_run_with_the_rate_typed(small_table, run_config, tmp_path):
    ends = {}
    for name, overrides in (("looks", ["find_lr=true", "logger=tensorboard"]), ("typed", [])):
        if name == "typed":
            rate = ends["looks"][1].read_config().optimizer.lr
            overrides = [f"optimizer.lr={rate}"]
        config = run_config(*QUICK, "trainer.max_epochs=3", "model=embedding_net", *overrides)
        run = RunDirectory(tmp_path / name)
        run.path.mkdir()
        ends[name] = train(config, run, data=data_of(small_table, config)), run
    assert ends["looks"][0]["test/rmse"] == ends["typed"][0]["test/rmse"]
    kept = ends["looks"][1]
    assert kept.read_config().find_lr is False
    assert (kept.path / "lr_range_test.csv").read_text().startswith("lr,loss,smoothed_loss\n")
    assert (kept.path / "figures" / "lr_range_test.png").read_bytes()[:4] == b"\x89PNG"
    images = EventAccumulator(str(kept.tensorboard)).Reload().Tags()["images"]
    assert "train/lr_range_test" in images


@pytest.mark.parametrize(
    "override", ["start_lr=1e-3", "end_lr=0.5", "steps=50", "smoothing=0.5", "divergence=1.05"]
)
def test_every_setting_changes_the_test(tried, override):
    base = ("lr_range_test.end_lr=1e3", "optimizer=sgd", "model.output=linear")
    plain, other = tried(*base), tried(*base, f"lr_range_test.{override}")
    assert len(plain.rates) != len(other.rates) or not np.array_equal(
        plain.smoothed, other.smoothed
    )


def test_smoothing_divides_out_its_start():
    assert smoothed_losses(np.array([2.0, 2.0, 2.0]), 0.9) == pytest.approx([2, 2, 2])
    assert smoothed_losses(np.array([1.0, 3.0]), 0.5) == pytest.approx([1.0, (0.25 + 1.5) / 0.75])


def test_suggestions_on_a_curve_that_is_known():
    rates = np.logspace(-5, 1, 61)
    # Flat, down in a cosine between 1e-3 and 1e-1, then up.
    place = np.log10(rates)
    smoothed = np.select(
        [place < -3, place < -1], [1.0, (1 + np.cos((place + 3) / 2 * np.pi)) / 2], place + 1
    )
    found = suggestions(rates, smoothed)
    assert found["steepest"] == pytest.approx(1e-2, rel=0.3)
    assert found["minimum"] == pytest.approx(1e-2, rel=0.3)
    assert 1e-3 < found["valley"] < 1e-1


def test_noise_before_the_fall_is_no_suggestion():
    """A fall of 0.3 in one step at the left edge is steeper than any later one."""
    rates = np.logspace(-5, 1, 61)
    place = np.log10(rates)
    smoothed = np.where(place < -2, 1.0, 1 - 0.3 * (place + 2))
    smoothed[:3] = 1.0, 1.15, 0.85
    found = suggestions(rates, smoothed)
    assert 1e-2 <= found["steepest"] <= 10


def test_the_longest_valley_by_hand():
    # The longest falling subsequence is 5, 4, 3, 1 (or 2): it ends at index 6.
    assert longest_valley(np.array([5.0, 6.0, 4.0, 7.0, 3.0, 8.0, 1.0, 9.0])) == (2, 6)


def test_a_loss_that_never_falls_has_no_suggestion(run_config, small_table):
    assert suggestions(np.logspace(-5, 0, 30), np.arange(30.0)) == {}
    config = run_config(*QUICK, "lr_range_test.start_lr=1e5", "lr_range_test.end_lr=1e6")
    config = config.model_copy(
        update={"optimizer": run_config("optimizer=sgd", "model.output=linear").optimizer}
    )
    with pytest.raises(TrainingError, match=r"lower lr_range_test\.start_lr"):
        run_lr_range_test(config, data_of(small_table, config)).suggested("valley")


def test_a_solved_model_has_no_rate_to_look_for(run_config, tried):
    with pytest.raises(ConfigError, match="no learning rate"):
        run_config("model=least_squares_factors", "find_lr=true")
    with pytest.raises(ConfigError, match="no learning rate"):
        tried("model=least_squares_factors")


def test_the_curve_is_kept_whole(tried, tmp_path):
    write_range_test(tried(), RunDirectory(tmp_path), chosen="valley")
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert not any(name.startswith("events") for name in names), "no run for TensorBoard to list"
    assert names[-2:] == ["lr_range_test.csv", "lr_range_test.png"]
