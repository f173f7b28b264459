"""The three ways an adapter fails, named by what the caller can do about it.

InfrastructureError
├── Unavailable   try again later; `retry_after_s` says when, where the other side said so
│   └── Throttled  the other side wants fewer requests: the budget of all processes is halved
├── Rejected      trying again changes nothing: a person must act
└── Malformed     the other side sent what nobody can read; `sample` keeps (the start of) it

Each adapter translates its driver's errors in one place. Subclass only where someone catches the subclass.
"""

SAMPLE_LIMIT = 500


class InfrastructureError(Exception):
    """Any failure at the edge of the platform. The text is one sentence for a person."""


class Unavailable(InfrastructureError):
    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Throttled(Unavailable):
    pass


class Rejected(InfrastructureError):
    pass


class Malformed(InfrastructureError):
    def __init__(self, message: str, sample: str = "") -> None:
        super().__init__(message)
        self.sample = sample[:SAMPLE_LIMIT]
