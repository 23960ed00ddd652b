"""What a config can choose by name: ours, those of the caller, those of installed packages.

Nothing is imported until it is asked for by its name, and nothing by a path that a config names.
"""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, distributions, entry_points
from typing import Any, get_args

from lightning_collab.config.contract import GUIDE, Contract, class_at
from lightning_collab.errors import ConfigError

NAME = re.compile(r"[a-z][a-z0-9_]*")


class Registry:
    """Classes by name; of models and losses, the classes of their configs.

    Args:
        kind: what they are, in one word.
        group: of entry points by which installed packages offer more.
        built_in: name -> place of the class, as "module:Class".
        contract: of the classes that others register.
        place: attribute of a built-in config that has the place of its implementation.
        reserved: further names that others cannot take.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        built_in: Mapping[str, str],
        contract: Contract,
        *,
        place: str = "",
        reserved: Iterable[str] = (),
    ) -> None:
        self.kind = kind
        self.group = group
        self._places = dict(built_in)
        self._contract = contract
        self._place = place
        self._reserved = {*built_in, *reserved}
        # Those of the caller, and those of installed packages that were asked for.
        self._registered: dict[str, type] = {}
        self._loaded: dict[str, tuple[type, str]] = {}

    @property
    def names(self) -> list[str]:
        """All there are, ours first; nothing is imported for it.

        Raises:
            ConfigError: an installed package offers a name that is ours.
        """
        return [*self._places, *self.names_of_others]

    @property
    def names_of_others(self) -> list[str]:
        """Those of the caller and of installed packages, sorted.

        Raises:
            ConfigError: an installed package offers a name that is ours.
        """
        return sorted({*self._registered, *self._offered()})

    def is_ours(self, name: str) -> bool:
        """Whether a name is one of lightning-collab's own."""
        return name in self._places

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return name in self._places or name in self._known() or name in self._offered()

    def __getitem__(self, name: str) -> Any:
        """The class that a config of this name is of.

        Raises:
            KeyError: there is none with this name.
            ConfigError: see `part`.
        """
        if name in self._places:
            return class_at(self._places[name])
        part = self.part(name)
        return part.config_class if self._contract.config is not None else part

    def implementation(self, config: Any) -> Any:
        """The class that is built from a config; of models and losses.

        Args:
            config: a section with a `name`.

        Raises:
            KeyError: there is none with this name.
            ConfigError: see `part`.
        """
        if config.name in self._places:
            return class_at(getattr(config, self._place))
        return self.part(config.name)

    def name_of(self, part: type) -> str | None:
        """What a class is chosen by in this process; None where it is not known here.

        Args:
            part: of others or ours; of models and losses, the class of a config stands for it too.
        """
        config = getattr(part, "config_class", part)
        field = getattr(config, "model_fields", {}).get("name")
        names = get_args(field.annotation) if field is not None else ()
        for name in names or (getattr(part, "name", None),):
            if name in self._places:
                known = {class_at(self._places[name])}
                known |= {class_at(getattr(each, self._place)) for each in known if self._place}
            else:
                known = {self.part(name), self[name]} if name in self else set()
            # A class without a config of its own is not known by that of its base.
            if part in known and (names or part is not config):
                return str(name)
        return None

    def part(self, name: str) -> Any:
        """A class of others, imported where it has not been.

        Args:
            name: that it was registered under.

        Raises:
            KeyError: there is none with this name.
            ConfigError: it cannot be imported, breaks the contract of its kind, or two packages
                offer one of this name.
        """
        if name in self._registered:
            return self._registered[name]
        if name not in self._loaded:
            points = self._offered().get(name, [])
            if not points:
                raise KeyError(name)
            self._loaded[name] = self._imported(name, points)
        return self._loaded[name][0]

    def register(self, part: type) -> None:
        """Make a class known in this process.

        Args:
            part: keeps the contract of its kind and says its own name: in the `name` of its
                config, or in an attribute `name`. The same class may be registered again, as a
                cell of a notebook that is run twice does.

        Raises:
            ConfigError: it breaks the contract, has no name, or the name is taken.
        """
        what = f"{self.kind} {getattr(part, '__qualname__', repr(part))}"
        self._check(part, what)
        names = self._names_of(part)
        if not names:
            raise ConfigError(f"{what}: it has no name; {self._how_to_name()}")
        for name in names:
            if not NAME.fullmatch(name):
                raise ConfigError(
                    f"{what}: {name!r} is not a valid name; use lowercase letters, digits and _, "
                    "starting with a letter"
                )
            if name in self._reserved:
                raise ConfigError(f"{what}: the name {name!r} is taken by lightning-collab itself")
            other = self._registered.get(name)
            if other is not None and _place_of(other) != _place_of(part):
                raise ConfigError(f"{what}: the name {name!r} is taken by {_place_of(other)}")
        self._registered |= dict.fromkeys(names, part)

    def distribution_of(self, name: str) -> str | None:
        """The installed package that a class of others is from.

        Args:
            name: that it is chosen by.

        Returns:
            Name and version, such as `my-package 1.2`; None for ours, and for a class that was
            registered by the caller and is not what an installed package offers.
        """
        if name in self._places:
            return None
        if name in self._registered:
            place = _place_of(self._registered[name])
            return next(
                (_said(each) for each in self._offered().get(name, []) if each.value == place), None
            )
        if name in self._loaded:
            return self._loaded[name][1]
        return next((_said(each) for each in self._offered().get(name, [])), None)

    def origin_of(self, name: str) -> str | None:
        """Where a custom class is from, as text for a record.

        Args:
            name: that it is chosen by.

        Returns:
            `distribution_of`, or `module x` of a class that the caller registered; None for ours.
        """
        if name in self._registered:
            return self.distribution_of(name) or f"module {self._registered[name].__module__}"
        return self.distribution_of(name)

    def _known(self) -> set[str]:
        return {*self._registered, *self._loaded}

    def _offered(self) -> dict[str, list[EntryPoint]]:
        """What installed packages offer; some milliseconds, and nothing is imported."""
        offered: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            if point.name in self._reserved:
                raise ConfigError(
                    f"{_said(point)} offers a {self.kind} by the name {point.name!r}, which is "
                    "taken by lightning-collab itself; use a version of it that does not, or "
                    "uninstall it"
                )
            offered.setdefault(point.name, []).append(point)
        return offered

    def _imported(self, name: str, points: list[EntryPoint]) -> tuple[type, str]:
        if len(points) > 1:
            raise ConfigError(
                f"{self.kind} {name!r}: {' and '.join(map(_said, points))} both offer one; "
                "uninstall one of them"
            )
        (point,) = points
        what = f"{self.kind} {name!r} of {_said(point)} ({point.value})"
        try:
            part = point.load()
        except Exception as error:
            raise ConfigError(
                f"{what} cannot be imported: {type(error).__name__}: {error}"
            ) from error
        self._check(part, what)
        own = self._names_of(part)
        if own and name not in own:
            raise ConfigError(f"{what}: the entry point is {name!r}, but the class says {own[0]!r}")
        return part, _said(point)

    def _check(self, part: Any, what: str) -> None:
        lines = self._contract.broken_by(part)
        if lines:
            found = "\n".join(f"  {line}" for line in lines)
            raise ConfigError(f"{what} is not what a {self.kind} must be:\n{found}\n{GUIDE}")

    def _names_of(self, part: Any) -> tuple[str, ...]:
        """The names that a class says itself."""
        config = part.config_class if self._contract.config is not None else part
        field = getattr(config, "model_fields", {}).get("name")
        names = get_args(field.annotation) if field is not None else ()
        if names:
            return tuple(map(str, names))
        own = getattr(part, "name", None)
        return (own,) if isinstance(own, str) else ()

    def _how_to_name(self) -> str:
        if self._contract.config is not None:
            return 'give its config_class a field `name: Literal["..."]`'
        if hasattr(class_at(self._contract.base), "model_fields"):
            return 'give it a field `name: Literal["..."]`'
        return 'give it an attribute `name = "..."`'


def _place_of(part: type) -> str:
    return f"{part.__module__}:{part.__qualname__}"


def _said(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "a package"


MODELS = Registry(
    "model",
    "lightning_collab.models",
    {
        "embedding_dot_bias": "lightning_collab.models.config:EmbeddingDotBiasConfig",
        "embedding_net": "lightning_collab.models.config:EmbeddingNetConfig",
        "matrix_product": "lightning_collab.models.config:MatrixProductConfig",
        "least_squares_factors": "lightning_collab.models.config:LeastSquaresFactorsConfig",
        "implicit_least_squares": "lightning_collab.models.config:ImplicitLeastSquaresConfig",
        "ease": "lightning_collab.models.config:EaseConfig",
        "bayesian_factors": "lightning_collab.models.config:BayesianFactorsConfig",
    },
    Contract(
        base="lightning_collab.models.rating_model:RatingModel",
        methods=("__init__(config, statistics)", "rate(rows, batch, effects)"),
        config="lightning_collab.config.model:ModelConfig",
        further="lightning_collab.models.contract:broken_by",
    ),
    place="model_class",
)

LOSSES = Registry(
    "loss",
    "lightning_collab.losses",
    {
        "squared_error": "lightning_collab.config.model:SquaredErrorConfig",
        "softmax": "lightning_collab.config.model:SoftmaxConfig",
        "bce": "lightning_collab.config.model:BCEConfig",
        "bpr": "lightning_collab.config.model:BPRConfig",
    },
    Contract(
        base="lightning_collab.losses.loss:Loss",
        methods=("__init__(config)",),
        config="lightning_collab.config.model:LossConfig",
        further="lightning_collab.losses.contract:broken_by",
    ),
    place="loss_class",
)

SPLITS = Registry(
    "split",
    "lightning_collab.splits",
    {
        "cold_items": "lightning_collab.config.split:ColdItemsConfig",
        "cold_users": "lightning_collab.config.split:ColdUsersConfig",
        "k_fold": "lightning_collab.config.split:KFoldSplitConfig",
        "leave_one_out": "lightning_collab.config.split:LeaveOneOutConfig",
        "lecture": "lightning_collab.config.split:LectureSplitConfig",
        "official_fold": "lightning_collab.config.split:OfficialFoldConfig",
        "predefined": "lightning_collab.config.split:PredefinedSplitConfig",
        "random": "lightning_collab.config.split:RandomSplitConfig",
        "temporal": "lightning_collab.config.split:TemporalSplitConfig",
        "user_ratio": "lightning_collab.config.split:UserRatioConfig",
        "user_stratified": "lightning_collab.config.split:UserStratifiedConfig",
    },
    Contract(base="lightning_collab.config.split:SplitConfig", methods=("split(table)",)),
)

SOURCES = Registry(
    "source",
    "lightning_collab.sources",
    {
        "ml_100k": "lightning_collab.config.data:MovieLens100KConfig",
        "ml_latest_small": "lightning_collab.config.data:MovieLensLatestSmallConfig",
        "ml_1m": "lightning_collab.config.data:MovieLens1MConfig",
        "ml_10m": "lightning_collab.config.data:MovieLensLargeConfig",
        "ml_20m": "lightning_collab.config.data:MovieLensLargeConfig",
        "ml_25m": "lightning_collab.config.data:MovieLensLargeConfig",
        "ml_32m": "lightning_collab.config.data:MovieLensLargeConfig",
        "csv": "lightning_collab.config.data:CustomFileConfig",
        "frame": "lightning_collab.config.data:FrameConfig",
        "synthetic": "lightning_collab.config.data:SyntheticConfig",
    },
    Contract(base="lightning_collab.config.data:DataConfig", methods=("load()",)),
)

METRICS = Registry(
    "metric",
    "lightning_collab.metrics",
    {},
    Contract(
        base="torchmetrics:Metric", methods=("__init__()", "update(predicted, batch)", "compute()")
    ),
    # What is logged in any case.
    reserved=(
        "loss",
        *("rmse", "rmse_warm", "rmse_cold", "rmse_unknown"),
        *("mae", "mae_warm", "mae_cold", "mae_unknown"),
    ),
)

SCHEDULERS = Registry(
    "scheduler",
    "lightning_collab.schedulers",
    {
        "constant": "lightning_collab.config.optimizer:ConstantConfig",
        "linear": "lightning_collab.config.optimizer:LinearConfig",
        "one_cycle": "lightning_collab.config.optimizer:OneCycleConfig",
        "steps": "lightning_collab.config.optimizer:StepsConfig",
        "warm_restarts": "lightning_collab.config.optimizer:WarmRestartsConfig",
    },
    Contract(
        base="lightning_collab.config.optimizer:SchedulerConfig",
        methods=("factors(step, *, steps_per_epoch, total_steps, lr)",),
    ),
)

# By the config group, or the key, that chooses from them.
REGISTRIES = {
    "model": MODELS,
    "loss": LOSSES,
    "split": SPLITS,
    "data": SOURCES,
    "scheduler": SCHEDULERS,
    "metrics": METRICS,
}


def packages_of_others() -> list[str]:
    """The top packages of all parts that installed packages offer; nothing is imported."""
    groups = {registry.group for registry in REGISTRIES.values()}
    offered = (point for each in distributions() for point in each.entry_points)
    return sorted(
        {p.value.partition(":")[0].partition(".")[0] for p in offered if p.group in groups}
    )
