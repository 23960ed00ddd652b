"""Config groups of others, after the command's own: `./conf`, those of packages, and options.

Hydra imports this at every start of every program that uses it: nothing heavy at the top.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin

from lightning_collab.runs.invocation import conf_folder, further_conf_folders, say_what_is_shadowed

SCHEME = "lightning-collab"


class FurtherConfigs(SearchPathPlugin):
    """Adds options to our groups; one of the same name as ours is not found before ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the places, where the program is ours and not another one that uses Hydra."""
        main = [each.path for each in search_path.get_path() if each.provider == "main"]
        if main != [str(conf_folder())]:
            return
        folders = further_conf_folders()
        for provider, folder in folders:
            search_path.append(provider, folder.as_uri())
        say_what_is_shadowed(folders)
        search_path.append("parts of others", f"{SCHEME}://")


class PartsOfOthers(ConfigSource):
    """An option for each part of others that has no file: `model=<name>` with its defaults."""

    @staticmethod
    def scheme() -> str:
        """Of its place in the search path."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """The defaults of the class of its config, which is imported for it."""
        from lightning_collab.config.plugins import default_option

        group, name = self._parts(config_path)
        return ConfigResult(
            provider=self.provider,
            path=f"{SCHEME}://{self.path}",
            config=default_option(group, name),
            header={"package": None},
        )

    def available(self) -> bool:
        """Always."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether parts are chosen in it."""
        from lightning_collab.config.plugins import GROUPS

        return config_path.rstrip("/") in GROUPS

    def is_config(self, config_path: str) -> bool:
        """Whether there is such a part."""
        from lightning_collab.config.plugins import is_part_of_others

        return is_part_of_others(*self._parts(config_path))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The names of parts; nothing is imported for them."""
        from lightning_collab.config.plugins import options_of_others

        if results_filter == ObjectType.GROUP:
            return []
        return options_of_others().get(config_path.rstrip("/"), [])

    @staticmethod
    def _parts(config_path: str) -> tuple[str, str]:
        group, _, name = config_path.rpartition("/")
        return group, name.removesuffix(".yaml")
