"""Raw files from a server or from a package index: checked, whole or not at all, once."""

import hashlib
import logging
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pooch
import requests
from filelock import FileLock

from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

SERVER_TIMEOUT_SECONDS = 20


class WrongChecksumError(DataError):
    """A download that is not what it should be. It is refused, and no other place is tried."""


class UnreachableError(Exception):
    """A place that could not be reached; the next one may."""


class Place(Protocol):
    """Somewhere an archive can be had."""

    @property
    def description(self) -> str:
        """For error messages."""
        ...

    @property
    def members(self) -> Mapping[str, str]:
        """Path in the archive -> name to store it under."""
        ...

    def fetch(self, folder: Path) -> Path:
        """Put the archive into `folder`, checked, and return its path."""
        ...


@dataclass(frozen=True)
class Server:
    """A zip archive at an address.

    Attributes:
        url: of the archive.
        sha256: of the archive, in hex; None: not known.
        members: path in the archive -> name to store it under.
    """

    url: str
    sha256: str | None = None
    members: Mapping[str, str] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """For error messages."""
        return self.url

    def fetch(self, folder: Path) -> Path:
        """Download the archive.

        Raises:
            UnreachableError: the server does not answer with the file.
            WrongChecksumError: it answers with another file.
        """
        downloader = pooch.HTTPDownloader(timeout=SERVER_TIMEOUT_SECONDS, progressbar=True)
        try:
            path = pooch.retrieve(self.url, known_hash=None, path=folder, downloader=downloader)
        except (requests.RequestException, OSError) as error:
            raise UnreachableError(str(error)) from error
        if self.sha256 is not None:
            _check(Path(path), self.sha256, self.url)
        return Path(path)


@dataclass(frozen=True)
class PackageIndex:
    """A wheel from whatever package index pip is set up for; read as a zip, never installed.

    Attributes:
        requirement: name==version.
        sha256: of the wheel, in hex.
        members: path in the wheel -> name to store it under.
    """

    requirement: str
    sha256: str
    members: Mapping[str, str]

    @property
    def description(self) -> str:
        """For error messages."""
        return f"the {self.requirement} wheel from pip's package index"

    def fetch(self, folder: Path) -> Path:
        """Download the wheel with pip.

        Raises:
            UnreachableError: pip is not there, or cannot find or reach the package.
            WrongChecksumError: the wheel is another one.
        """
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", str(folder), self.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(folder.glob("*.whl"))
        if done.returncode != 0 or not wheels:
            reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise UnreachableError(reasons[-1] if reasons else "pip found no such wheel")
        _check(wheels[0], self.sha256, self.description)
        return wheels[0]


def obtain(folder: Path, places: list[Place], *, by_hand: str) -> None:
    """Fill `folder` with raw files from the first place that can be reached.

    The folder appears whole or not at all, and once: a second process that asks at the same time
    waits for the first and then finds the folder there.

    Args:
        folder: where the files go; its parents are made.
        places: in the order in which they are tried.
        by_hand: how a person can put the files there, for the error message.

    Raises:
        DataError: no place can be reached, or the folder cannot be written.
        WrongChecksumError: a place gave another file than it should.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            if not folder.is_dir():
                _obtain_locked(folder, places, by_hand)
    except OSError as error:
        raise DataError(f"cannot write the data folder {folder.parent}: {error}") from error


def _obtain_locked(folder: Path, places: list[Place], by_hand: str) -> None:
    failures = [f"{folder}: not there"]
    for place in places:
        with _temporary_folder(folder.parent) as temporary:
            log.info("%s is not there; trying %s", folder, place.description)
            try:
                archive = place.fetch(temporary)
            except UnreachableError as error:
                failures.append(f"{place.description}: {_shortened(str(error))}")
                continue
            unpacked = temporary / "unpacked"
            unpacked.mkdir()
            _extract(archive, place.members, unpacked)
            unpacked.rename(folder)
            log.info("stored in %s", folder)
            return
    tried = "\n".join(f"  {number}. {line}" for number, line in enumerate(failures, 1))
    raise DataError(f"no ratings found; tried\n{tried}\n{by_hand}")


def _extract(archive: Path, members: Mapping[str, str], folder: Path) -> None:
    """Copy only the members asked for, under the names that we give them."""
    with zipfile.ZipFile(archive) as source:
        for member, name in members.items():
            (folder / name).write_bytes(source.read(member))


@contextmanager
def _temporary_folder(beside: Path) -> Iterator[Path]:
    """A folder on the same file system, so that a rename is atomic."""
    with tempfile.TemporaryDirectory(dir=beside, prefix=".download-") as name:
        yield Path(name)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path, sha256: str, description: str) -> None:
    found = sha256_of(path)
    if found != sha256:
        raise WrongChecksumError(
            f"refused a download that is not the expected file: {description}\n"
            f"  sha256 expected {sha256}\n  sha256 found    {found}"
        )


def _shortened(message: str, limit: int = 160) -> str:
    line = " ".join(message.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
