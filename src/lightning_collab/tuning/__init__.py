"""Sweeps over configs: grids that one can rely on, and studies on Optuna.

A study is a storage with trials in it. Any number of workers, on one machine or several, take
trials from it, train and tell; `coordinator` alone decides who takes what.
"""
