"""Measurements of speed: one module for each group, each with `run(repeats)`."""
