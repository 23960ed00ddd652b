#!/usr/bin/env python
"""What to watch next, for a user, for everybody or for a fold-in user."""

from lightning_collab.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
