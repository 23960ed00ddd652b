"""What is used from Python: training on a frame or a file, and a trained run with all that it can.

The commands stand on the same functions.
"""
