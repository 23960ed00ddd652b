#!/usr/bin/env python
"""Draw what a trained model has learned of films or users."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
