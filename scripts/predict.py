#!/usr/bin/env python
"""Predicted ratings for a file of users and items."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
