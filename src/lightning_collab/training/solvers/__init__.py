"""Optimizers whose step is a sweep: alternating least squares, Gibbs sampling."""
