"""Room for arithmetic that is used again: fresh pages of memory for each step would take longer than the step. Pure;
used by `bar_codec`."""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_VALUES = 2**17  # kept of each name; larger arrays are given and forgotten


class Scratch:
    """Arrays by name, for one user at a time."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[Any]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Of any content; overwritten when that name is taken again."""
        size = math.prod(shape)
        room = self._kept.get(name)
        if room is None or room.size < size:
            room = np.empty(size, dtype)
            if size <= MOST_VALUES:
                self._kept[name] = room
        return room[:size].reshape(shape)


#: As many as were ever borrowed at once. A deque gives each to one thread only.
_idle: deque[Scratch] = deque()


@contextmanager
def borrowed() -> Iterator[Scratch]:
    try:
        scratch = _idle.pop()
    except IndexError:
        scratch = Scratch()
    try:
        yield scratch
    finally:
        _idle.append(scratch)
