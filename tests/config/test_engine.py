import pytest
from support import composed

from lightning_collab.config import validated
from lightning_collab.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("model=embedding_net", "features=history", "training.engine=fused"),
            r"engine=fused: .*features with model=embedding_net; set training\.engine=eager",
        ),
        (("trainer=ddp_cpu", "training.engine=fused"), r"trainer=ddp_cpu .*training\.engine=eager"),
        (("trainer=gpu", "training.engine=fused"), r"trainer=gpu .*training\.engine=eager"),
        (
            ("trainer.precision=bf16-mixed", "training.engine=fused"),
            r"trainer\.precision=bf16-mixed; set training\.engine=eager",
        ),
        (
            ("training.engine=eager", "training.row_updates=lazy"),
            r"row_updates=lazy .*set training\.engine=fused",
        ),
        (
            ("model=embedding_net", "features=history", "training.row_updates=lazy"),
            r"row_updates=lazy: there are no fused kernels for features with model=embedding_net",
        ),
        (
            ("model=least_squares_factors", "training.engine=eager"),
            r"training: model=least_squares_factors is solved",
        ),
        (("training.engine=turbo",), r"training\.engine: .*'eager'"),
    ],
)
def test_an_engine_that_cannot_is_refused_and_one_that_can_is_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        validated(composed(*overrides))


def test_a_run_of_before_there_was_a_choice_is_still_valid():
    config = composed()
    del config["training"]
    assert validated(config).training.engine == "auto"
