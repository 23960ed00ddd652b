"""Kernels of many exact optimizer steps at a time."""
