"""Each error of the drivers is one of our kinds."""

from collections.abc import Callable, Iterator

import pytest
import requests
import urllib3

from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.http_client.errors import kind_of


def walk(error: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in error.__subclasses__():
        yield child
        yield from walk(child)


@pytest.mark.parametrize("root", [requests.RequestException, urllib3.exceptions.HTTPError])
def test_every_error_of_the_drivers_has_a_kind(root: type[BaseException]) -> None:
    drivers = [error for error in walk(root) if error.__module__.split(".")[0] in ("requests", "urllib3")]
    assert len(drivers) > 15
    assert [error.__name__ for error in drivers if kind_of(error) is None] == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (requests.exceptions.ConnectTimeout, Unavailable),
        (requests.exceptions.SSLError, Unavailable),
        (requests.exceptions.InvalidProxyURL, Rejected),
        (urllib3.exceptions.NameResolutionError, Unavailable),
        (urllib3.exceptions.IncompleteRead, Unavailable),
        (urllib3.exceptions.InvalidChunkLength, Malformed),
        (urllib3.exceptions.ProxySchemeUnknown, Rejected),
    ],
)
def test_kinds(error: type[Exception], kind: Callable[..., Exception]) -> None:
    assert kind_of(error) is kind
