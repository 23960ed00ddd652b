"""The one exception that users are meant to read, and what goes into its message."""

import errno
from pathlib import Path
from typing import Any, Self

CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# What libraries in other languages make of it.
DISK_IS_FULL = ("(os error 28)", "[Errno 28]")
# What torch says of memory that it was refused.
NO_MEMORY = ("can't allocate memory", "CUDA out of memory")


class LightningCollabError(Exception):
    """Something that the user can put right.

    The message says what was wrong, where, and what to do. The commands print it without a
    traceback and exit with code 1; any other exception is a fault of ours and keeps its traceback.
    """


class ConfigError(LightningCollabError):
    """A config with an unknown key, a wrong type or an impossible combination."""


# What Lightning raises of arguments of the Trainer that do not fit the data or the machine.
OF_ARGUMENTS = ("MisconfigurationException", "ValueError", "ModuleNotFoundError", "TypeError")


class TrainerArgumentError(ConfigError):
    """An argument of Lightning's Trainer that it refuses when it meets the data."""

    @classmethod
    def behind(cls, error: BaseException) -> Self | None:
        """What Lightning says of an argument; None: it is another error.

        Args:
            error: as it was raised.
        """
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        raised_by = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
        of_lightning = raised_by.split(".")[0] in ("pytorch_lightning", "lightning_fabric")
        if not of_lightning or type(error).__name__ not in OF_ARGUMENTS:
            return None
        return cls(f"trainer: {str(error).strip()}")


class DataError(LightningCollabError):
    """Ratings that cannot be found, downloaded or read."""


class CheckpointError(LightningCollabError):
    """A checkpoint or a run directory that cannot be used."""


class StorageError(LightningCollabError):
    """A file that cannot be written: a full disk, a folder without permission."""

    @classmethod
    def of(cls, error: Exception, path: Path | None) -> Self:
        """Say which file, why, and that what was there before is still whole.

        Args:
            error: of the system, or of a library that has errors of its own for this.
            path: that was being written; None: not known.
        """
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0]
        return cls(
            f"cannot write {path or 'a file'}: {reason}. Nothing is half written: existing files "
            "are unchanged. Free some space or grant permission, and run the same "
            "command again (a run continues with resume=<its directory>)"
        )

    @classmethod
    def behind(cls, error: BaseException | None) -> Self | None:
        """The full or unwritable disk that an error of any library comes from; None: another cause.

        Args:
            error: with those that it came from.
        """
        while error is not None:
            if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
                return cls.of(error, Path(error.filename) if error.filename else None)
            if isinstance(error, Exception) and any(text in str(error) for text in DISK_IS_FULL):
                return cls.of(error, None)
            error = error.__cause__ or error.__context__
        return None


class OutOfMemoryError(LightningCollabError):
    """More memory was asked for than there is."""

    @classmethod
    def behind(cls, error: BaseException | None) -> Self | None:
        """The refused memory that an error of any library comes from; None: another cause.

        Args:
            error: with those that it came from.
        """
        while error is not None:
            known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
            if known or any(text in str(error) for text in NO_MEMORY):
                reason = (str(error).splitlines() or [""])[0]
                return cls(
                    f"memory ran out: {reason or type(error).__name__}. Lower what it depends on: "
                    "model.factors, model.hidden, data.batch_size, or the rows of the data "
                    "(data.k_core, data.min_rating)"
                )
            error = error.__cause__ or error.__context__
        return None


class TrainingError(LightningCollabError):
    """A run that had to stop."""

    @classmethod
    def behind(cls, error: BaseException) -> Self | None:
        """The step of an optimizer that no float32 holds; None: it is another error.

        Args:
            error: as torch raised it.
        """
        if "without overflow" not in str(error):
            return None
        return cls(f"a step is larger than float32 holds ({error}); lower optimizer.lr")


class NotFoundError(LightningCollabError):
    """An item, user or title that a run does not know, or that several match."""


class InspectionError(LightningCollabError):
    """A run that cannot be looked into in the way that was asked for."""


# Letters of a value in a message.
LONGEST = 60


def shape_of(value: Any) -> str:
    """What something is that should have been an array: `int64 [3, 1]`, or the value itself.

    Args:
        value: an array, or anything else.
    """
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {list(value.shape)}"
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
