"""Who may ask the API: a logged-in session, a program with an API key, or anybody where the operator allows it."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja.errors import HttpError
from ninja.utils import check_csrf

from infrastructure.persistence import mongodb_errors
from marketdata.services import attempts, holders
from marketdata.services.holders import Holder

SCHEME = "bearer "


def viewer(request: HttpRequest) -> Any:
    """As on the live page. A key that is sent must be good, even where none is needed."""
    if request.headers.get("Authorization", "").lower().startswith(SCHEME):
        return _holder_of_key(request)
    return settings.ANONYMOUS_VIEWING or _session(request)


def account(request: HttpRequest) -> Holder | None:
    """Somebody, even where anybody may look. A session must prove that the request is its own."""
    if request.headers.get("Authorization", "").lower().startswith(SCHEME):
        return _holder_of_key(request)
    holder = _session(request)
    if holder is not None and check_csrf(request) is not None:
        raise HttpError(403, "The CSRF token is missing or wrong.")
    return holder


@mongodb_errors()
def _session(request: HttpRequest) -> Holder | None:
    return holders.of_session(request.user, request.session) if request.user.is_authenticated else None


def _holder_of_key(request: HttpRequest) -> Holder | None:
    address = request.META.get("REMOTE_ADDR", "")
    if not attempts.of_this_process.may_try(address):
        raise HttpError(429, "Too many failed attempts from this address: wait a minute.")
    holder = holders.of_key(request.headers["Authorization"][len(SCHEME) :].strip())
    if holder is None:
        attempts.of_this_process.failed(address)
    return holder
