"""`python -m lightning_collab <command> [overrides]`."""

from lightning_collab.cli import main

if __name__ == "__main__":
    main()
