#!/usr/bin/env python
"""One page that shows a run, several runs side by side, or a study."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
