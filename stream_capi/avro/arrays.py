"""numpy, imported here and nowhere else: with one thread.

Its linear algebra library starts a thread for each processor when it is imported. Nothing here uses it, and workers and
containers count their threads. The library reads its environment once, at the import.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402 -- after the number of threads is set
from numpy.typing import NDArray  # noqa: E402

Ints = NDArray[np.int64]  # positions, rows and lengths
Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]

__all__ = ["Bytes", "Flags", "Ints", "NDArray", "np"]
