"""Ratings: sources -> table -> split -> batches -> data module."""
