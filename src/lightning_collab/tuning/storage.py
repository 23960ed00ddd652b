"""Where a study is kept, and the lock that makes count-then-ask one step."""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from lightning_collab.errors import ConfigError, LightningCollabError
from lightning_collab.runs.text import SECRET, hidden

JOURNAL_FILE = "study.log"
CONNECT_TIMEOUT_SECONDS = 10


class StudyStorageError(LightningCollabError):
    """A storage that cannot be reached or used."""


@dataclass(frozen=True)
class StorageURL:
    """Where a study is kept.

    Attributes:
        url: the path of a journal file, sqlite:///<path>, or postgresql+psycopg://...
    """

    url: str

    @classmethod
    def parse(cls, text: str | None, sweep_dir: Path) -> "StorageURL":
        """The storage URL that the user means.

        Args:
            text: `hydra.sweeper.storage`; None: a journal file in the sweep directory.
            sweep_dir: of the sweep.

        Raises:
            ConfigError: a kind of storage that we cannot guard against two takers of one trial.
        """
        if text is None:
            return cls(str(sweep_dir.absolute() / JOURNAL_FILE))
        if "://" not in text:
            return cls(str(Path(text).expanduser().absolute()))
        try:
            url = sqlalchemy.make_url(text)
        except sqlalchemy.exc.ArgumentError:
            raise ConfigError(
                f"hydra.sweeper.storage: {hidden(text)} is not a storage URL; examples: study.log "
                "(a file), sqlite:///study.db, postgresql://user:password@host:5432/database"
            ) from None
        backend = url.get_backend_name()
        if backend in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        elif backend != "sqlite":
            raise ConfigError(
                f"hydra.sweeper.storage: {backend} is not supported; name a file, sqlite:///... or "
                "postgresql://..."
            )
        elif url.database in (None, "", ":memory:"):
            raise ConfigError("hydra.sweeper.storage: sqlite needs a file: sqlite:///study.db")
        else:
            url = url.set(database=str(Path(str(url.database)).expanduser().absolute()))
        return cls(url.render_as_string(hide_password=False))

    @property
    def is_journal(self) -> bool:
        """Whether this is a journal file."""
        return "://" not in self.url

    @property
    def file(self) -> Path | None:
        """The file on this machine; None: a server."""
        if self.is_journal:
            return Path(self.url)
        url = sqlalchemy.make_url(self.url)
        return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None

    def __str__(self) -> str:
        """Without its password."""
        return hidden(self.url)

    def open(self) -> BaseStorage:
        """Connect.

        Raises:
            StudyStorageError: it cannot be reached, or is not a storage of Optuna.
        """
        # Our messages say what Optuna's own would.
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        try:
            if self.file is not None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            if self.is_journal:
                return JournalStorage(JournalFileBackend(self.url))
            # Two that open a new database at once would both make its tables.
            with self.claim_lock(""):
                return RDBStorage(self.url, engine_kwargs=self._engine_settings())
        except StudyStorageError:
            raise
        except ImportError as error:
            raise StudyStorageError(
                f"{self}: the driver is not installed ({error}); pip install "
                "'lightning-collab[postgresql]'"
            ) from None
        except Exception as error:
            raise self._unusable(error) from None

    def claim_lock(self, study_name: str) -> AbstractContextManager[object]:
        """Exclusive among all workers of a study, on all machines; let go by a process that dies.

        Args:
            study_name: of the study; empty: of the storage itself.
        """
        if self.file is not None:
            return FileLock(self.file.with_name(self.file.name + ".claim"))
        return self._advisory_lock(study_name)

    @contextmanager
    def _advisory_lock(self, study_name: str) -> Iterator[None]:
        key = int.from_bytes(
            hashlib.sha256(f"lightning-collab/{study_name}".encode()).digest()[:8], signed=True
        )
        # A connection of its own: the server lets go of the lock when it ends, however it ends.
        settings = self._engine_settings() | {"isolation_level": "AUTOCOMMIT"}
        engine = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool, **settings)
        try:
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": key})
                yield
        except sqlalchemy.exc.OperationalError as error:
            raise self._unusable(error) from None
        finally:
            engine.dispose()

    def _engine_settings(self) -> dict[str, Any]:
        if self.file is not None:
            return {"connect_args": {"timeout": 60}}
        return {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_TIMEOUT_SECONDS}}

    def _secrets(self) -> list[str]:
        """The password, and values of the query that are named as secrets are."""
        if self.is_journal:
            return []
        url = sqlalchemy.make_url(self.url)
        found = [str(url.password)] if url.password else []
        for name, values in url.query.items():
            if re.search(SECRET, name, flags=re.IGNORECASE):
                found += [values] if isinstance(values, str) else list(values)
        return [each for each in found if each]

    def _unusable(self, error: Exception) -> StudyStorageError:
        text = " ".join(str(getattr(error, "orig", None) or error).split())
        for secret in self._secrets():
            text = text.replace(secret, "***")
        return StudyStorageError(
            f"the study's storage {self} cannot be used: {text[:300] or type(error).__name__}\n"
            "Check hydra.sweeper.storage, and that the server runs."
        )


def trial_id_of(storage: BaseStorage, study_name: str, number: int) -> int:
    """A storage's own name for a trial of a study."""
    study = storage.get_study_id_from_name(study_name)
    return storage.get_trial_id_from_study_id_trial_number(study, number)
