"""Run directories: what lies where, one process at a time, files that are whole or not there."""
