"""A client that waits for nobody and tells how long it would have."""

from collections.abc import Iterator

import pytest

from infrastructure.backoff import Backoff
from infrastructure.http_client import HttpClient, HttpConfig

CONFIG = HttpConfig(backoff=Backoff(0.5, 2, 5, 0.5), user_agent="tests")


class Naps(list[float]):
    """Stands in for sleeping: keeps how long was asked for."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def client(naps: Naps) -> Iterator[HttpClient]:
    with HttpClient(CONFIG, sleep=naps, random=lambda: 0.5) as client:
        yield client
