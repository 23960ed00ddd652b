"""The one exception that a person is meant to read."""


class LightningCollabError(Exception):
    """Something that the user can put right.

    The message says what was wrong, where, and what to do. The front doors print it without a
    traceback and exit with code 1; any other exception is a fault of ours and keeps its traceback.
    """


class ConfigError(LightningCollabError):
    """A config with an unknown key, a wrong type or an impossible combination."""


class DataError(LightningCollabError):
    """Ratings that cannot be found, downloaded or read."""


class CheckpointError(LightningCollabError):
    """A checkpoint or a run directory that cannot be used."""


class TrainingError(LightningCollabError):
    """A run that had to stop."""


class NotFoundError(LightningCollabError):
    """An item, user or title that a run does not know, or that several match."""


class InspectionError(LightningCollabError):
    """A run that cannot be looked into in the way that was asked for."""
