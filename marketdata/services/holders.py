"""Who stands behind a session, an API key or a ticket, and tickets themselves: signed, valid for a minute, for whoever
cannot send a session or does not want to send a key over a websocket. May be used more than once in their minute."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.core import signing
from django.utils.crypto import constant_time_compare

from infrastructure.persistence import mongodb_errors
from marketdata.services import api_keys, sessions

TICKET_S = 60
_SALT = "marketdata.live.ticket"
FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Holder:
    """`key` is the id of the API key it came with, `session` the name of the session, `ends_s` when that runs out
    (seconds since 1970)."""

    user: Any
    key: str = ""
    session: str = ""
    ends_s: float = FOREVER


class TicketExpired(Exception):
    """It was a good one a while ago."""


def of_session(user: Any, session: Any) -> Holder:
    """A signed cookie says when it was signed; of any other session it is only known how long it may last from now."""
    signed = (session.session_key or "").rsplit(":", 2)
    began_s = signing.b62_decode(signed[1]) if len(signed) == 3 else time.time()
    return Holder(user, session=session.get(sessions.NAME, ""), ends_s=began_s + session.get_expiry_age())


@mongodb_errors()
def of_sessions(given: Sequence[Any]) -> list[Holder | None]:
    """Of each of the sessions, by one question to the database; None where nobody, or nobody any more, is logged in."""
    accounts = {str(session.get(SESSION_KEY)) for session in given if session.get(SESSION_KEY)}
    found = get_user_model()._default_manager.filter(pk__in=list(accounts))
    users = {str(user.pk): user for user in found if user.is_active}
    holders = []
    for session in given:
        user = users.get(str(session.get(SESSION_KEY)))
        good = user is not None and _is_of(user, session)
        holders.append(of_session(user, session) if good else None)
    return holders


def _is_of(user: Any, session: Any) -> bool:
    """A new password ends a session, and so does a way of logging in that is no longer allowed."""
    allowed = session.get(BACKEND_SESSION_KEY) in settings.AUTHENTICATION_BACKENDS
    return allowed and constant_time_compare(session.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())


def of_key(text: str) -> Holder | None:
    key = api_keys.find(text)
    return Holder(key.user, key=key.pk) if key else None


def ticket_for(holder: Holder) -> str:
    ends_s = None if holder.ends_s == FOREVER else holder.ends_s
    said = [str(holder.user.pk), holder.user.get_session_auth_hash(), holder.key, holder.session, ends_s]
    return signing.dumps(said, salt=_SALT)


@mongodb_errors()
def of_ticket(ticket: str) -> Holder | None:
    """None where it is not one of ours, or its account, key or session may no longer watch. Raises TicketExpired."""
    try:
        account, digest, key, session, ends_s = signing.loads(ticket, salt=_SALT, max_age=TICKET_S)
    except signing.SignatureExpired:
        raise TicketExpired from None
    except signing.BadSignature:
        return None
    user = get_user_model()._default_manager.filter(pk=account).first()
    if user is None or not user.is_active:
        return None
    if not (key or constant_time_compare(user.get_session_auth_hash(), digest)):
        return None
    if (key and not api_keys.valid_ids([key])) or (session and sessions.ended([session])):
        return None
    return Holder(user, key, session, FOREVER if ends_s is None else ends_s)
