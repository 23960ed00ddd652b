"""Gibbs sampling of factors: conditional draws as compiled kernels, and the chain they make.

Nothing here knows of Lightning or of torch; arrays are numpy's.
"""
