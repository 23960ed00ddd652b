"""`conf/logger`: where curves go."""

from typing import Literal

from lightning_collab.config.section import Section


class LoggerConfig(Section):
    """Where curves go."""

    name: Literal["tensorboard", "none"]
    """`tensorboard`: into <run>/tensorboard; `none`: nowhere."""
