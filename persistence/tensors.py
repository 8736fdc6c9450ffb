"""Named arrays as safetensors bytes that are the same for the same content.

The library writes its metadata in random order; here the header is sorted, so that equal content has an equal SHA-256.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

Tensors = dict[str, NDArray[Any]]
_ALIGNMENT = 8


def dump_tensors(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return ``tensors`` and ``metadata`` as safetensors bytes."""
    raw = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header["__metadata__"] = dict(metadata or {})
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text + raw[8 + size :]


def load_tensors(data: bytes) -> tuple[Tensors, dict[str, str]]:
    """Return the arrays and the metadata in safetensors bytes.

    Raises:
        ValueError: The bytes are damaged.
    """
    try:
        tensors: Tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"not safetensors ({error})") from error
    return tensors, {str(key): str(value) for key, value in metadata.items()}
