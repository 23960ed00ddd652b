"""The command demo: a page on which one rates items and sees what a run recommends, and why."""

import webbrowser
from importlib.util import find_spec

from omegaconf import DictConfig

from lightning_collab.api.trained_run import load
from lightning_collab.config.commands import DemoConfig
from lightning_collab.config.section import job_config
from lightning_collab.demo.server import check_port, serving, stopped_by_any_signal, until_ended
from lightning_collab.demo.tables import check_somebody_new
from lightning_collab.errors import ConfigError, InspectionError
from lightning_collab.training.console import say


def demo_command(config: DictConfig) -> None:
    """Serve the page on this machine until somebody stops it.

    Args:
        config: of conf/demo.yaml.

    Raises:
        ConfigError: Streamlit is not installed, or the port is not to be had.
        CheckpointError: not a run directory.
        NotFoundError: the model cannot recommend to somebody new.
        InspectionError: Streamlit does not start, or ends by itself.
    """
    asked = job_config(DemoConfig, config)
    if find_spec("streamlit") is None:
        raise ConfigError("demo needs streamlit: pip install 'lightning-collab[demo]'")
    run = load(asked.run, asked.checkpoint)
    check_somebody_new(run)
    check_port(asked.port)
    address = f"http://localhost:{asked.port}"
    try:
        with stopped_by_any_signal(), serving(run, asked.port) as server:
            say(f"open {address} in a browser; Ctrl-C stops it")
            if asked.open_browser:
                webbrowser.open(address)
            ended = until_ended(server)
    except KeyboardInterrupt:
        say("stopped")
        return
    raise InspectionError(f"Streamlit has ended by itself (exit code {ended})")
