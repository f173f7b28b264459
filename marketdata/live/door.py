"""A door of a connection through which ready-made frames go straight to its socket, past ASGI. Pure."""

from collections.abc import Callable


class Door:
    """`write` takes one whole frame and never waits; it may be called only while the door is open. The server opens it
    and shuts it: while the socket is full, and for good when the connection closes or compresses. `on_shut` is called
    each time. `unsent` gives the bytes that wait for the socket, door or not."""

    __slots__ = ("is_open", "on_shut", "unsent", "write")

    def __init__(self, write: Callable[[bytes], object], unsent: Callable[[], int]) -> None:
        self.write = write
        self.unsent = unsent
        self.is_open = False
        self.on_shut: Callable[[], None] | None = None

    def shut(self) -> None:
        self.is_open = False
        if self.on_shut is not None:
            self.on_shut()
