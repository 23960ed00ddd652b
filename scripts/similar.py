#!/usr/bin/env python
"""The films or users that a trained model holds to be similar."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
