"""`./conf` of the folder that a command is called in, after the command's own config groups.

Hydra imports this at every start of every program that uses it: nothing heavy at the top.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from lightning_collab.runs.invocation import conf_folder, working_conf_folder


class WorkingFolder(SearchPathPlugin):
    """Adds options to our groups; one of the same name as ours is not found before ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder, where the program is ours and not another one that uses Hydra."""
        main = [each.path for each in search_path.get_path() if each.provider == "main"]
        folder = working_conf_folder()
        if main == [str(conf_folder())] and folder is not None:
            search_path.append("working folder", folder.as_uri())
