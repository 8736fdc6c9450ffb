"""PyBullet without the banners that its C code prints; everything in this room imports it from here."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["p", "pybullet_data", "quiet"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep PyBullet's C code from printing its banner into a program's output."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in (*saved, sink):
            os.close(descriptor)


with quiet():
    import pybullet as p
    import pybullet_data
