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
        space = search_space({}, typed, config_loader)
        made = composer("hydra/sweeper=optuna_study", *space.fixed)
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
