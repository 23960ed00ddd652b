"""Raw files from a server or from a package index: checked, whole or not at all, once."""

import errno
import logging
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import ClassVar

import pooch
import requests
from filelock import FileLock

from lightning_collab.errors import DataError
from lightning_collab.runs.files import sum_of

log = logging.getLogger(__name__)

SERVER_TIMEOUT_SECONDS = 20
# Text of ratings packs to a fourth or a tenth; bombs to a thousandth.
MOST_UNPACKED_RATIO = 50
MOST_UNPACKED_BYTES = 16 << 30
# Flag of a member of a zip archive.
ENCRYPTED = 0x1


class WrongChecksumError(DataError):
    """A download that is not what it should be. It is refused, and no other place is tried."""


class UnreachableError(Exception):
    """A place that could not be reached; the next one may."""


@dataclass(frozen=True)
class Server:
    """A zip archive at a URL.

    Attributes:
        url: of the archive.
        sha256: of the archive, in hex; None: not known.
        members: path in the archive -> name to store it under.
        md5: of the archive, in hex, where only this is published; None: not known.
    """

    url: str
    sha256: str | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    md5: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether it is known which file it should be."""
        return bool(self.sha256 or self.md5)

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
        except requests.RequestException as error:
            raise UnreachableError(str(error)) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise  # no other place would fit either
            raise UnreachableError(str(error)) from error
        if expected := self.sha256 or self.md5:
            _check(Path(path), expected, self.url, "sha256" if self.sha256 else "md5")
        return Path(path)


@dataclass(frozen=True)
class PackageIndex:
    """A wheel from whatever package index pip is set up for; read as a zip, never installed.

    Attributes:
        requirement: name==version.
        sha256: of the wheel, in hex.
        members: path in the wheel -> name to store it under.
    """

    pinned: ClassVar[bool] = True

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


# Somewhere an archive can be had.
Place = Server | PackageIndex


def obtain(folder: Path, places: list[Place], *, by_hand: str) -> None:
    """Fill `folder` with raw files from the first place that can be reached.

    The folder appears whole or not at all, and once: a second process that asks at the same time
    waits for the first and then finds the folder there.

    Args:
        folder: where the files go; its parents are made.
        places: in the order in which they are tried.
        by_hand: how a user can put the files there, for the error message.

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
        # On the same file system, so that a rename is atomic.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as name:
            temporary = Path(name)
            log.info("%s is not available; trying %s", folder, place.description)
            try:
                archive = place.fetch(temporary)
            except UnreachableError as error:
                failures.append(f"{place.description}: {_shortened(str(error))}")
                continue
            if not place.pinned:
                record = folder.parent / f".{folder.name}.sha256"
                _check_recorded(archive, record, place.description)
            unpacked = temporary / "unpacked"
            unpacked.mkdir()
            _extract(archive, place.members, unpacked, place.description)
            unpacked.rename(folder)
            log.info("stored in %s", folder)
            return
    tried = "\n".join(f"  {number}. {line}" for number, line in enumerate(failures, 1))
    raise DataError(f"no ratings found; tried\n{tried}\n{by_hand}")


def _extract(archive: Path, members: Mapping[str, str], folder: Path, description: str) -> None:
    """Copy only the members asked for, under the names that we give them."""
    try:
        with zipfile.ZipFile(archive) as source:
            _refuse_tricks(source, members, archive.stat().st_size, description)
            for member, name in members.items():
                with source.open(member) as packed, (folder / name).open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"{description}: not a complete zip archive: {error}") from error
    except KeyError as error:
        raise DataError(f"{description}: {error.args[0]}") from error


def _refuse_tricks(
    source: zipfile.ZipFile, members: Mapping[str, str], packed: int, description: str
) -> None:
    """Refuse an archive that tries to reach out of its folder, or to fill the disk.

    Only the members asked for are ever unpacked, under our own names and never more of them than
    the archive's directory says. An archive with such tricks in it is not what it should be, so
    none of it is used.
    """
    for member in source.infolist():
        path = PureWindowsPath(member.filename)  # knows both kinds of slashes, and drives
        kind = stat.S_IFMT(member.external_attr >> 16)
        if path.anchor or ".." in path.parts:
            trick = "a path that leads out of the folder"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            trick = "a link or a device"
        elif member.flag_bits & ENCRYPTED:
            trick = "encrypted"
        else:
            continue
        raise DataError(f"refused {description}: its member {member.filename!r} is {trick}")
    unpacked = sum(source.getinfo(member).file_size for member in members)
    if unpacked > min(packed * MOST_UNPACKED_RATIO, MOST_UNPACKED_BYTES):
        raise DataError(
            f"refused {description}: {packed:,} bytes that would unpack to {unpacked:,}; ratings "
            f"are at most {MOST_UNPACKED_RATIO} times as long as their archive, and at most "
            f"{MOST_UNPACKED_BYTES:,} bytes"
        )


def _check(path: Path, expected: str, description: str, algorithm: str = "sha256") -> None:
    found = sum_of(path, algorithm)
    if found != expected:
        raise WrongChecksumError(
            f"refused a download that is not the expected file: {description}\n"
            f"  {algorithm} expected {expected}\n  {algorithm} found    {found}"
        )


def _check_recorded(archive: Path, record: Path, description: str) -> None:
    """Where no sum is published: the same archive as the first time, whose sum is kept."""
    if not record.is_file():
        record.write_text(f"{sum_of(archive)}  {description}\n")
        return
    try:
        _check(archive, record.read_text().split()[0], description)
    except WrongChecksumError as error:
        raise WrongChecksumError(
            f"{error}\nThe expected one is that of the first download, kept in {record}; if a new "
            "edition is what you want, remove that file"
        ) from error


def _shortened(message: str, limit: int = 160) -> str:
    line = " ".join(message.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
