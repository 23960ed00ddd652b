#!/usr/bin/env python
"""Measure a trained model again, from its run directory."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
