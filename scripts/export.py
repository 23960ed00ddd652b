#!/usr/bin/env python
"""A trained model for use elsewhere, with a model card."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
