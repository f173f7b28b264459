"""The real database, in which something happens before the writes of one client: another writer comes first, or its
process dies. Used by the tests that put steps of one between steps of another."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pymongo.collection import Collection

from infrastructure.persistence import Database

Document = dict[str, Any]


class Killed(BaseException):
    """What a process that is killed raises: nobody catches it."""


class Interposed(Database):
    """`before(n)` is called before write n, counted from 0. Where it raises Killed at a write of many documents, the
    first `share` of them get through, as with a connection that is cut."""

    def __init__(self, before: Callable[[int], object], share: float = 0.0) -> None:
        super().__init__()
        self._before = before
        self._share = share
        self.writes = 0

    def collection(self, name: str) -> Collection[Document]:
        return _Watched(super().collection(name), self)

    def step(self) -> None:
        number, self.writes = self.writes, self.writes + 1
        self._before(number)

    def part(self, operations: list[Any]) -> list[Any]:
        return operations[: int(len(operations) * self._share)]


class _Watched(Collection[Document]):
    def __init__(self, collection: Collection[Document], database: Interposed) -> None:
        super().__init__(collection.database, collection.name, codec_options=collection.codec_options)
        self._interposed = database

    def bulk_write(self, requests: Any, *arguments: Any, **options: Any) -> Any:
        try:
            self._interposed.step()
        except Killed:
            if through := self._interposed.part(list(requests)):
                with suppress(Exception):
                    super().bulk_write(through, *arguments, **options)
            raise
        return super().bulk_write(requests, *arguments, **options)


def _interposing(name: str) -> Callable[..., Any]:
    def write(self: _Watched, *arguments: Any, **options: Any) -> Any:
        self._interposed.step()
        return getattr(Collection, name)(self, *arguments, **options)

    return write


for _name in ("insert_one", "update_one", "update_many", "delete_one", "delete_many", "find_one_and_update"):
    setattr(_Watched, _name, _interposing(_name))
