"""Turns what requests and urllib3 raise into the three kinds of failure. Used by `client.py` alone, at one place."""

import socket
import ssl

from requests import exceptions as requests_errors
from urllib3 import exceptions as urllib3_errors

from infrastructure.errors import InfrastructureError, Malformed, Rejected, Unavailable

#: Most specific first. A test walks both libraries and fails on a class that is not covered here.
KINDS: tuple[tuple[type[Exception], type[InfrastructureError]], ...] = (
    (requests_errors.ContentDecodingError, Malformed),
    (requests_errors.ConnectionError, Unavailable),
    (requests_errors.Timeout, Unavailable),
    (requests_errors.ChunkedEncodingError, Unavailable),
    (requests_errors.RetryError, Unavailable),
    (requests_errors.InvalidURL, Rejected),
    (requests_errors.MissingSchema, Rejected),
    (requests_errors.InvalidSchema, Rejected),
    (requests_errors.InvalidHeader, Rejected),
    (requests_errors.URLRequired, Rejected),
    (requests_errors.TooManyRedirects, Rejected),
    (requests_errors.HTTPError, Rejected),
    (requests_errors.InvalidJSONError, Rejected),
    (requests_errors.StreamConsumedError, Rejected),
    (requests_errors.UnrewindableBodyError, Rejected),
    (urllib3_errors.LocationValueError, Rejected),
    (urllib3_errors.InvalidHeader, Rejected),
    (urllib3_errors.UnrewindableBodyError, Rejected),
    (urllib3_errors.TimeoutStateError, Rejected),
    (urllib3_errors.DecodeError, Malformed),
    (urllib3_errors.HeaderParsingError, Malformed),
    (urllib3_errors.InvalidChunkLength, Malformed),
    (urllib3_errors.BodyNotHttplibCompatible, Malformed),
    (urllib3_errors.ResponseNotChunked, Malformed),
    (urllib3_errors.IncompleteRead, Unavailable),
    (urllib3_errors.PoolError, Unavailable),
    (urllib3_errors.TimeoutError, Unavailable),
    (urllib3_errors.ProtocolError, Unavailable),
    (urllib3_errors.ProxyError, Unavailable),
    (urllib3_errors.SSLError, Unavailable),
    (urllib3_errors.ResponseError, Unavailable),
)

_TEXTS = {
    Unavailable: "{host} could not be reached: {error}.",
    Rejected: "The request to {host} cannot be sent: {error}.",
    Malformed: "{host} sent an answer that cannot be read: {error}.",
}


def kind_of(error: type[BaseException]) -> type[InfrastructureError] | None:
    return next((kind for driver_error, kind in KINDS if issubclass(error, driver_error)), None)


def translated(error: Exception, host: str) -> InfrastructureError:
    """Never quotes the driver's text: it may repeat a URL with a password in it."""
    causes = _chain(error)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return Rejected(f"{host} has no certificate that this machine trusts.")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Unavailable(f"The name {host} cannot be resolved.")
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return Unavailable(f"{host} did not answer in time.")
    kind = kind_of(type(error)) or Unavailable  # what is left is a bare OSError of the socket
    # The innermost name says most: ConnectionRefusedError rather than the ConnectionError around it.
    return kind(_TEXTS[kind].format(host=host, error=type(causes[-1]).__name__))


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what caused it, outermost first; both libraries also hide causes in `reason` and the arguments."""
    chain: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(chain) < 20:
        link = queue.pop(0)
        if isinstance(link, BaseException) and link not in chain:
            chain.append(link)
            queue += [link.__cause__, getattr(link, "reason", None), *link.args]
    return chain
