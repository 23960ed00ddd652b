#!/usr/bin/env python
"""Look for a learning rate by a range test."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
