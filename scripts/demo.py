#!/usr/bin/env python
"""A page on which one rates items and sees what a run recommends, and why."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
