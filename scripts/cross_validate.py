#!/usr/bin/env python
"""Train and test on each of several folds, and compare experiments on the same folds."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
