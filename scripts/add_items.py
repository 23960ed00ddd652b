#!/usr/bin/env python
"""Items that a trained model has never seen, made known to it by their features."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
