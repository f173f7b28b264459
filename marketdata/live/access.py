"""Lets programs in by ticket or key, and ends the connections of those that may no longer watch: account deactivated,
password changed, key revoked, session run out or logged out.

The second is asked for all connections at once, every half minute; only where logging in is required. Used by the
consumer.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

from django.contrib.auth import get_user_model

from infrastructure.errors import InfrastructureError
from infrastructure.persistence import at_most
from marketdata.live.connection import Connection
from marketdata.live.errors import Code, Refusal
from marketdata.live.protocol import Auth
from marketdata.live.supervision import supervised
from marketdata.live.together import Together
from marketdata.services import api_keys, holders, sessions
from marketdata.services.attempts import Attempts
from marketdata.services.holders import Holder

CHECK_EVERY_S = 30.0
CHECK_LIMIT_S = 10.0
ANSWER_LIMIT_S = 3.0  # of the database, to one who waits to be let in

logger = logging.getLogger(__name__)

Admitted = tuple[Holder, str]  # and the session hash its account had then


class Access:
    """`may_stay` gives those of the admitted that may go on watching; it blocks and runs in a thread. `clock` gives
    seconds since 1970."""

    def __init__(
        self, may_stay: Callable[[Collection[Admitted]], Collection[Admitted]], clock: Callable[[], float]
    ) -> None:
        self._may_stay, self._clock = may_stay, clock
        self._admitted: dict[Connection, Admitted] = {}
        self._task: asyncio.Task[None] | None = None

    def enter(self, connection: Connection, holder: Holder) -> None:
        self._admitted[connection] = (holder, holder.user.get_session_auth_hash())
        if self._task is None:
            self._task = asyncio.ensure_future(supervised(self._run, self._clock))

    def leave(self, connection: Connection) -> None:
        self._admitted.pop(connection, None)

    async def check(self) -> None:
        for connection, (holder, _) in tuple(self._admitted.items()):
            if self._clock() > holder.ends_s:
                connection.close(Code.ACCESS_ENDED, "The session has run out: log in again.")
        asked = {connection: admitted for connection, admitted in self._admitted.items() if not connection.over}
        if not asked:
            return
        stay = set(await asyncio.to_thread(self._may_stay, asked.values()))
        for connection, admitted in asked.items():
            if admitted not in stay:
                why = "The account was deactivated, its password has changed, or its key or session has ended."
                connection.close(Code.ACCESS_ENDED, why)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        """Whom the database cannot be asked about stays, until it can say otherwise."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            await self.check()


@at_most(ANSWER_LIMIT_S)
def who_are(sessions: Sequence[Any]) -> list[Holder | None]:
    return holders.of_sessions(sessions)


@at_most(CHECK_LIMIT_S)
def who_may_stay(admitted: Collection[Admitted]) -> set[Admitted]:
    """A new password ends sessions and what came of them; a key is ended by revoking it."""
    accounts = {holder.user.pk for holder, _ in admitted}
    found = get_user_model()._default_manager.filter(pk__in=list(accounts))
    hashes = {user.pk: user.get_session_auth_hash() for user in found if user.is_active}
    keys = {holder.key for holder, _ in admitted} - {""}
    good = api_keys.valid_ids(list(keys)) | {""}
    names = {holder.session for holder, _ in admitted} - {""}
    over = sessions.ended(names)
    return {
        (holder, digest)
        for holder, digest in admitted
        if holder.user.pk in hashes
        and (holder.key or hashes[holder.user.pk] == digest)
        and holder.key in good
        and holder.session not in over
    }


async def let_in(auth: Auth, address: str, attempts: Attempts) -> Holder:
    """Refusal where the ticket or key is not good, and for an address that tried too often."""
    if not attempts.may_try(address):
        raise Refusal(Code.TOO_MANY_FAILURES, "Too many failed attempts from this address: wait a minute.")
    try:
        holder = await asyncio.to_thread(_holder_of, auth)
    except holders.TicketExpired:
        raise Refusal(Code.TICKET_EXPIRED, f"A ticket is good for {holders.TICKET_S} s: get another.") from None
    except InfrastructureError as error:
        logger.warning("a ticket or key cannot be checked: %s", error)
        raise Refusal(Code.AUTH_UNCHECKED, "Accounts cannot be checked at the moment.") from None
    if holder is None:
        attempts.failed(address)
        raise Refusal(Code.AUTH_FAILED, "The ticket or key is not valid.")
    return holder


async def known_by(session: Any, sessions: Together[Any, Holder | None]) -> Holder | None:
    """Who is logged in by that session, which is None where there is none. Refusal while nobody can say."""
    if session is None:
        return None
    try:
        return await sessions.answer(session)
    except InfrastructureError as error:
        logger.warning("a session cannot be checked: %s", error)
        raise Refusal(Code.AUTH_UNCHECKED, "Accounts cannot be checked at the moment.") from None


@at_most(ANSWER_LIMIT_S)
def _holder_of(auth: Auth) -> Holder | None:
    return holders.of_key(auth.key) if auth.key else holders.of_ticket(auth.ticket)
