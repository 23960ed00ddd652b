"""Hydra finds the sweepers here; they are in `lightning_collab.tuning`."""
