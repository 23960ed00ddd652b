"""What takes the optimiser steps: autograd, compiled autograd, or fused kernels."""
