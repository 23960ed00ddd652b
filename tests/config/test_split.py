import pytest

from lightning_collab.config import validated
from lightning_collab.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "has_val"),
    [
        (("split=random",), True),
        (("split=random", "split.val=0"), False),
        (("split=lecture",), True),
        (("split=lecture", "split.val=0.1"), True),
        (("split=official_fold",), True),
        (("split=official_fold", "split.val=0"), False),
        (("split=temporal",), True),
        (("split=temporal", "split.val=0"), False),
        (("split=temporal", "split.val=0", "split.val_from=1998-01-01"), True),
        (("split=leave_one_out",), True),
        (("split=leave_one_out", "split.val=0.1"), True),
        (("split=leave_one_out", "split.val=0"), False),
        (("split=user_stratified",), True),
        (("split=user_stratified", "split.val=0"), False),
        (("split=user_ratio",), True),
        (("split=cold_items",), True),
        (("split=cold_users", "split.val=0"), False),
        (("split=user_ratio", "split.val=0"), False),
    ],
)
def test_a_split_knows_before_any_data_whether_it_validates(run_config, overrides, has_val):
    config = run_config(*overrides)
    assert config.split.has_val is has_val
    assert config.monitor == ("val/rmse" if has_val else None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("split=random", "split.test=1"), r"split\.test: .*less than 1"),
        (("split=random", "split.val=-0.1"), r"split\.val: .*greater than or equal to 0"),
        (("split=official_fold", "split.fold=u6"), r"split\.fold: .*'u1'"),
        (("split=temporal", "split.test_from=yesterday"), r"split\.test_from: .*yesterday"),
        (
            ("split=temporal", "split.by=user", "split.test_from=1998-01-01"),
            r"split\.test_from is one date for all",
        ),
        (
            ("split=temporal", "split.test_from=1998-01-01", "split.val_from=1998-02-01"),
            r"split\.val_from must be before split\.test_from",
        ),
        (
            ("split=user_ratio", "split.val=0.5", "split.test=0.5"),
            r"split\.val=0\.5 and split\.test=0\.5 are shares of all rows of a user",
        ),
        (("split=cold_items", "split.share=1"), r"split\.share: .*less than 1"),
        (("split=cold_users", "split.fold=2"), r"split\.fold=2 is above split\.folds=null"),
        (("split=leave_one_out", "split.pick=first"), r"split\.pick: .*'last'"),
        (("split=leave_one_out", "split.val=two"), r"split\.val"),
        (("split=predefined",), r"split=predefined: data=ml_100k does not say"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key(run_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_config(*overrides)


def test_dates_survive_the_runs_own_config(run_config):
    config = run_config("split=temporal", "split.test_from=1998-03-01")
    assert validated(config.model_dump(mode="json")) == config
