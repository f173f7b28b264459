"""A process that dies before one of its writes to MongoDB, whoever in it makes that: a store or the ORM."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pymongo.collection import Collection

WRITES = (
    "bulk_write", "insert_one", "insert_many", "update_one", "update_many", "delete_one", "delete_many",
    "find_one_and_update",
)  # fmt: skip


class Killed(BaseException):
    """What a process that is killed raises: nobody can do anything about it."""


@contextmanager
def killed_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Killed]]:
    """The block dies after so many writes; gives whether it did. Cleaning up on the way out writes nothing either."""
    left, deaths = [writes], list[Killed]()

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def write(*arguments: object, **options: object) -> object:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return original(*arguments, **options)

        return write

    with monkeypatch.context() as patch:
        for name in WRITES:
            patch.setattr(Collection, name, counted(getattr(Collection, name)))
        try:
            yield deaths
        except Killed as death:
            deaths.append(death)
