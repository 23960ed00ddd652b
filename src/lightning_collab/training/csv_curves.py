"""The table of `logger=csv`."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.files import write_atomically


class CSVCurves(Logger):
    """One table of all curves, to which a resumed run adds.

    Lightning's CSVLogger starts its file over. A line is what was logged at once; columns are added
    as metrics come. Lines of steps that a killed run took beyond its last checkpoint are replaced
    when the resumed run takes them again.

    Args:
        run: the files are in its folder `csv`.
    """

    def __init__(self, run: RunDirectory) -> None:
        super().__init__()
        self._table = run.csv / "metrics.csv"
        self._hparams = run.csv / "hparams.yaml"
        # None: this process has written none yet.
        self._columns: list[str] | None = None
        self._waiting: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        """Of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """There is one."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder."""
        return str(self._table.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any], *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Write hparams.yaml."""
        self._hparams.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._hparams, yaml.safe_dump(dict(params), sort_keys=False))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep a line for the next `save`."""
        values = {key: float(value) for key, value in metrics.items()}
        self._waiting.append({"step": "" if step is None else step, **values})

    @rank_zero_only
    def save(self) -> None:
        """Write the lines that wait."""
        if not self._waiting:
            return
        if self._columns is None:
            first = min(_step(line) for line in self._waiting)
            kept = [line for line in self._lines() if _step(line) < first]
            self._rewrite([*kept, *self._waiting])
        elif any(key not in self._columns for line in self._waiting for key in line):
            self._rewrite([*self._lines(), *self._waiting])
        else:
            with self._table.open("a", newline="") as file:
                file.write(_as_csv(self._waiting, self._columns))
        self._waiting = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what waits."""
        self.save()

    def _lines(self) -> list[dict[str, Any]]:
        text = self._table.read_text() if self._table.is_file() else ""
        # What a full disk has cut short is left out.
        return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))

    def _rewrite(self, lines: Sequence[Mapping[str, Any]]) -> None:
        keys = dict.fromkeys(key for line in lines for key in line)
        self._columns = ["step", *sorted(key for key in keys if key != "step")]
        self._table.parent.mkdir(parents=True, exist_ok=True)
        header = _as_csv([dict(zip(self._columns, self._columns, strict=True))], self._columns)
        write_atomically(self._table, header + _as_csv(lines, self._columns))


def _step(line: Mapping[str, Any]) -> int:
    return int(line["step"] or 0)


def _as_csv(lines: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writerows(lines)
    return text.getvalue()
