"""Embedding tables split by rows over ranks: parameters, gradients, optimizer state."""
