"""What a study makes sure of before its first trial."""

import pytest
from omegaconf import OmegaConf

from lightning_collab.config.compose import plain
from lightning_collab.errors import ConfigError
from lightning_collab.tuning.search_space import search_space
from lightning_collab.tuning.settings import StudySettings, checked_settings
from lightning_collab.tuning.study import check_space, first_trials

ALPHA = "optimizer.settings.alpha=interval(0.5,0.99)"


@pytest.fixture
def study(composer, config_loader):
    """The composer, space and settings of a study that is typed."""

    def of(*typed):
        told = [each for each in typed if each.startswith("hydra.")]
        rest = [each for each in typed if not each.startswith("hydra.")]
        space = search_space({}, rest, config_loader)
        made = composer("hydra/sweeper=optuna_study", *told, *space.fixed)
        sweeper = OmegaConf.to_container(made.master.hydra.sweeper, resolve=True)
        settings = checked_settings(StudySettings, sweeper)
        return made, space, settings

    return of


def test_a_setting_that_the_config_leaves_out_is_searched(study):
    made, space, settings = study("optimizer=torch", "optimizer.class_name=RMSprop", ALPHA)
    check_space(made, space, settings)
    # It has no value of its own to begin with.
    assert first_trials(settings, space, plain(made.compose({}))) == [{}]
    config = made.run_config({"optimizer.settings.alpha": 0.75})
    assert config.optimizer.settings == {"alpha": 0.75}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("optimizer.class_name=RMSprob", ALPHA), "did you mean 'RMSprop'"),
        (("optimizer.class_name=RMSprop", ALPHA.replace("0.5", "-1")), "Invalid alpha value: -1"),
        (("optimizer.class_name=Adagrad", ALPHA), "torch.optim.Adagrad takes no alpha"),
    ],
)
def test_what_torch_would_refuse_is_refused_before_the_first_trial(typed, message, study):
    made, space, settings = study("optimizer=torch", *typed)
    with pytest.raises(ConfigError, match=message) as refused:
        check_space(made, space, settings)
    assert "(no trial was started)" in str(refused.value)


RATES = "optimizer.lr=interval(0.001,0.02)"
BATCHED = "hydra.sweeper.batched=true"


@pytest.mark.parametrize(
    "typed",
    [
        (RATES, "optimizer.groups.biases.weight_decay=interval(0.01,0.1)", "seed=1,2"),
        (RATES, "model.init_range=interval(0.01,0.1)", "trainer.gradient_clip_val=interval(1,2)"),
        (RATES, "scheduler.eta_min=interval(0,1e-3)", "scheduler=warm_restarts"),
        (RATES, "hydra.sweeper.hook=lightning_collab.tuning.search_space.number_of_cycles"),
    ],
)
def test_trials_that_differ_in_numbers_can_be_batched(typed, study):
    check_space(*study(BATCHED, *typed))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("model.factors=int(interval(4,8))",), "the space changes model.factors;"),
        (("data.batch_size=64,128",), "the space changes data.batch_size;"),
        (("optimizer.decay=gradient,decoupled",), "the space changes optimizer.decay;"),
        (("optimizer=adam,sgd",), "the space changes optimizer."),
        (
            ("optimizer.groups.embeddings.users.lazy=true,false",),
            "no fused kernels for optimizer.groups.embeddings.users",
        ),
        (("model=embedding_net",), "model=embedding_net"),
        (("model=least_squares_factors", "model.factors=4,8"), "model=least_squares_factors"),
        (("loss=softmax",), "loss=softmax ranks"),
        (("features=history",), "features are mapped"),
        (("trainer=ddp_cpu",), "trainer.devices=2"),
        (("trainer.precision=64-true",), "trainer.precision=64-true"),
        (("trainer.limit_train_batches=0.5",), "trainer.limit_train_batches=0.5"),
        (("training.engine=eager",), "training.engine=eager"),
        (("averaging=ema",), "averaging is for trials one by one"),
        (("find_lr=true",), "find_lr is for trials one by one"),
    ],
)
def test_what_cannot_be_batched_is_refused_by_name(typed, message, study):
    made, space, settings = study(BATCHED, RATES, *typed)
    with pytest.raises(ConfigError, match=message) as refused:
        check_space(made, space, settings)
    assert "hydra.sweeper.batched=false" in str(refused.value)
