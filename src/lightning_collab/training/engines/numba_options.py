"""How every kernel is compiled."""

from typing import Any

# Sums may be reordered and products fused, so that loops over factors use the processor's vectors;
# infinities and NaN keep their meaning, since a diverging loss must be seen.
KERNEL: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz"},
    "nogil": True,
}

INNER: dict[str, Any] = {**KERNEL, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""For what is called from kernels alone: nothing is compiled for calls from Python."""
