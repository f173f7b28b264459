"""Ends the connections of accounts that may no longer watch: deactivated, password changed, session run out.

Asked for all connected accounts at once, every half minute; only where logging in is required. Used by the consumer.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model

from infrastructure.errors import InfrastructureError
from infrastructure.persistence import mongodb_errors
from marketdata.live.connection import Connection
from marketdata.live.errors import Code

CHECK_EVERY_S = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Visitor:
    account: Any
    session_hash: str
    ends_at: float


class Access:
    """`active` gives the session hash of each of these accounts that is active; it blocks and runs in a thread."""

    def __init__(self, active: Callable[[Collection[Any]], Mapping[Any, str]], clock: Callable[[], float]) -> None:
        self._active, self._clock = active, clock
        self._visitors: dict[Connection, _Visitor] = {}
        self._task: asyncio.Task[None] | None = None

    def enter(self, connection: Connection, user: Any, session_s: float) -> None:
        ends_at = self._clock() + session_s
        self._visitors[connection] = _Visitor(user.pk, user.get_session_auth_hash(), ends_at)
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    def leave(self, connection: Connection) -> None:
        self._visitors.pop(connection, None)

    async def check(self) -> None:
        accounts = {visitor.account for visitor in self._visitors.values()}
        if not accounts:
            return
        active = await asyncio.to_thread(self._active, accounts)
        for connection, visitor in tuple(self._visitors.items()):
            if visitor.account not in accounts:  # came while the question was asked
                continue
            if active.get(visitor.account) != visitor.session_hash:
                connection.close(Code.ACCESS_ENDED, "The account was deactivated, or its password has changed.")
            elif self._clock() > visitor.ends_at:
                connection.close(Code.ACCESS_ENDED, "The session has run out: log in again.")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            try:
                await self.check()
            except InfrastructureError as error:  # who was let in stays until the database can say otherwise
                logger.warning("accounts cannot be checked: %s", error)


@mongodb_errors()
def active_accounts(accounts: Collection[Any]) -> dict[Any, str]:
    found = get_user_model()._default_manager.filter(pk__in=list(accounts))
    return {user.pk: user.get_session_auth_hash() for user in found if user.is_active}
