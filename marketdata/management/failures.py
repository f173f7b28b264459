"""Where an adapter's failure becomes a command's: one sentence on stderr and an exit code that is not 0."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError

from infrastructure.errors import InfrastructureError
from infrastructure.persistence import mongodb_errors


@contextmanager
def one_sentence() -> Iterator[None]:
    try:
        with mongodb_errors():
            yield
    except InfrastructureError as error:
        raise CommandError(str(error)) from error
