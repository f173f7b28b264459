"""The numbered errors of the live protocol; one that ends the connection is also its websocket closing code. Pure.

40xx  a request was refused, the connection goes on
41xx  the connection ends; reconnect, with a growing and random delay
45xx  the connection ends; do not reconnect by itself, a person must act
"""

from enum import IntEnum

FIRST_CLOSING = 4100
FIRST_FINAL = 4500


class Code(IntEnum):
    NOT_JSON = 4000
    NOT_UNDERSTOOD = 4001
    BINARY = 4002
    UNKNOWN_SYMBOL = 4010
    UNKNOWN_INTERVAL = 4011
    TOO_MANY_ITEMS = 4012
    UNCHECKED = 4013

    RESTARTING = 4100
    NO_HEARTBEAT = 4101
    TOO_SLOW = 4102
    TICKET_EXPIRED = 4103
    AUTH_UNCHECKED = 4104
    TOO_MANY_CONNECTIONS = 4105
    TOO_MANY_OF_ACCOUNT = 4106

    NOT_ALLOWED = 4500
    MESSAGE_TOO_LARGE = 4502
    TOO_MANY_MESSAGES = 4503
    ACCESS_ENDED = 4504
    AUTH_FAILED = 4505
    TOO_MANY_FAILURES = 4506

    @property
    def closes(self) -> bool:
        return self >= FIRST_CLOSING

    @property
    def reconnect(self) -> bool:
        return self < FIRST_FINAL


class Refusal(Exception):
    """What the client did cannot be granted; `message` is one sentence for a person, `id` that of the request."""

    def __init__(self, code: Code, message: str, id: int | str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id
