#!/usr/bin/env python
"""Train a rating model, measure it, and leave a run directory."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
