"""Which browsers of a hub are flushed together: a few slots, flushed in turn, spread over the flush interval.

Browsers that watch the same share a slot, as long as that keeps the slots about equal: their frame is made once, and
where nothing of theirs changed they are not even looked at. For one event loop.
"""

from collections.abc import Callable, Iterable, Iterator

from marketdata.live.connection import Connection
from marketdata.live.frames import Frames
from marketdata.live.latest import Latest

CROWDED = 1.25  # times the average, and some more: beyond it nobody is seated there for company
CROWDED_AND = 8

Watched = tuple[frozenset[str], frozenset[str]]  # quotes, bars


class Group:
    """Those who watch the same: who may be written to directly, and who is to be flushed one by one: whoever is owed
    more, and all without an open door."""

    __slots__ = ("behind", "direct")

    def __init__(self) -> None:
        self.direct: dict[Connection, Callable[[bytes], object]] = {}
        self.behind: set[Connection] = set()


class Slot:
    """Browsers by what they watch, the topics that changed since the last flush, and who is owed more than those."""

    def __init__(self) -> None:
        self._groups: dict[Watched, Group] = {}
        self._watched: dict[Connection, Watched] = {}
        self._quotes: set[str] = set()
        self._bars: set[str] = set()
        self._owed: set[Connection] = set()

    @property
    def size(self) -> int:
        return len(self._watched)

    def holds(self, watched: Watched) -> bool:
        return watched in self._groups

    def join(self, connection: Connection) -> None:
        self._watched[connection] = watched = connection.quotes, connection.bars
        self._groups.setdefault(watched, Group())
        connection.on_behind = self._fall_behind
        self._fall_behind(connection)

    def leave(self, connection: Connection) -> None:
        watched = self._watched.pop(connection)
        group = self._groups[watched]
        group.direct.pop(connection, None)
        group.behind.discard(connection)
        if not (group.direct or group.behind):
            del self._groups[watched]
        self._owed.discard(connection)
        connection.on_behind = None

    def _fall_behind(self, connection: Connection) -> None:
        group = self._groups[self._watched[connection]]
        group.direct.pop(connection, None)
        group.behind.add(connection)
        self._owed.add(connection)

    def change(self, quotes: Iterable[str], bars: Iterable[str]) -> None:
        self._quotes.update(quotes)
        self._bars.update(bars)

    def flush(self, latest: Latest, log: str) -> None:
        """One frame for everybody whom something concerns. `log`: where the log of closed bars ends, as JSON."""
        owed = self._owed
        if not (self._quotes or self._bars or owed):
            return
        frames = Frames(latest, self._quotes, self._bars, log)
        self._quotes, self._bars, self._owed = set(), set(), set()
        for (quotes, bars), group in self._groups.items():
            if (outgoing := frames.update(quotes, bars)) is not None:
                owed |= group.behind
                _write(group, outgoing.frame)
        for connection in owed:
            connection.flush(frames)
            self._settle(connection)

    def _settle(self, connection: Connection) -> None:
        """After its flush: who has it all is written to directly from now on."""
        if connection.due:
            self._owed.add(connection)
        elif (write := connection.direct) is not None:
            group = self._groups[self._watched[connection]]
            group.behind.discard(connection)
            group.direct[connection] = write


def _write(group: Group, frame: bytes) -> None:
    for connection, write in tuple(group.direct.items()):  # a full socket makes its browser fall behind meanwhile
        try:
            write(frame)
        except Exception as error:  # noqa: BLE001  servers raise what they like for a lost client; the others go on
            connection.lost(error)


class Slots:
    """A browser takes its seat when it begins to watch, and keeps the slot while it watches anything: all that it
    watches is due then, so that nothing it may have missed in another slot, or had already, is sent."""

    def __init__(self, count: int) -> None:
        self._slots = [Slot() for _ in range(count)]
        self._slot_of: dict[Connection, Slot] = {}

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    def seat(self, connection: Connection) -> None:
        """To be called whenever what it watches changed."""
        slot = self._slot_of.pop(connection, None)
        if slot is not None:
            slot.leave(connection)
        watched = connection.quotes, connection.bars
        if any(watched):
            slot = self._slot_of[connection] = slot or self._best(watched)
            slot.join(connection)

    def _best(self, watched: Watched) -> Slot:
        smallest = min(self._slots, key=lambda slot: slot.size)
        company = [slot for slot in self._slots if slot.holds(watched)]
        if not company:
            return smallest
        best = min(company, key=lambda slot: slot.size)
        return best if best.size <= CROWDED * len(self._slot_of) / len(self._slots) + CROWDED_AND else smallest
