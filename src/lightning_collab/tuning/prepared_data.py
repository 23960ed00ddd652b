"""Ratings loaded once a process and shared by its trials."""

from collections import OrderedDict

from lightning_collab.config import RunConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.sources import load_ratings
from lightning_collab.training.build import load_data

SPLITS_KEPT = 8


class PreparedData:
    """Tables and splits of the trials that one process runs.

    A table is kept as long as trials ask for the same source; the splits last used are kept too,
    one for each batch size, seed and set of features, since a data module has these.
    """

    def __init__(self) -> None:
        self._source: str | None = None
        self._table: RatingTable | None = None
        self._modules: OrderedDict[str, RatingDataModule] = OrderedDict()

    def of(self, config: RunConfig) -> RatingDataModule:
        """The split ratings that a config asks for.

        Args:
            config: of a trial.

        Raises:
            DataError: they cannot be found, read or split.
        """
        source = config.data.model_dump_json(exclude={"batch_size"})
        if self._table is None or source != self._source:
            self._modules.clear()
            self._table, self._source = load_ratings(config.data), source
        parts = (config.split.model_dump_json(), config.features.model_dump_json())
        key = f"{config.batch_size} {config.seed} {' '.join(parts)}"
        if key not in self._modules:
            self._modules[key] = load_data(config, self._table)
            if len(self._modules) > SPLITS_KEPT:
                self._modules.popitem(last=False)
        self._modules.move_to_end(key)
        return self._modules[key]
