"""Which sessions have ended by logging out: a signed cookie cannot be taken back, so each session gets a name when it
begins, and the name is noted when its owner logs out. Live connections of a noted session are ended."""

import logging
import secrets
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from infrastructure.errors import InfrastructureError
from infrastructure.persistence import mongodb_errors
from marketdata.models import EndedSession

NAME = "live_name"

logger = logging.getLogger(__name__)


def begin(request: HttpRequest, **_: Any) -> None:
    """Receiver of user_logged_in."""
    request.session[NAME] = secrets.token_urlsafe(12)


def end(request: HttpRequest, **_: Any) -> None:
    """Receiver of user_logged_out. A database that is away does not keep anybody logged in."""
    name = request.session.get(NAME)
    if name is None:
        return
    try:
        _note(name)
    except InfrastructureError as error:
        logger.warning("live connections of a session that was logged out go on: %s", error)


@mongodb_errors()
def _note(name: str) -> None:
    """Those older than any session are forgotten."""
    now = timezone.now()
    EndedSession.objects.filter(ended_at__lt=now - timedelta(seconds=settings.SESSION_COOKIE_AGE)).delete()
    EndedSession.objects.update_or_create(pk=name, defaults={"ended_at": now})


def ended(names: Collection[str]) -> set[str]:
    """Not translated: for callers that ask the database for more."""
    return set(EndedSession.objects.filter(pk__in=list(names)).values_list("pk", flat=True))
