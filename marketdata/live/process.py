"""What the live connections of one web process share: the hub, the known symbols, who is connected. One set per event
loop, made from settings when the first consumer of that loop asks."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings

from infrastructure.persistence import Database, LiveSubscription, QuoteStore, at_most
from infrastructure.persistence.live import AsyncLiveCache
from marketdata.live.access import Access, who_are, who_may_stay
from marketdata.live.admission import Places, places_of_accounts, places_of_addresses
from marketdata.live.hub import Hub, HubOptions
from marketdata.live.protocol import encode_quote
from marketdata.live.symbols import KnownSymbols
from marketdata.live.together import Together
from marketdata.models import Symbol
from marketdata.services.holders import Holder

SYMBOLS_LIMIT_S = 2.0  # a browser that subscribes waits for it


@dataclass(frozen=True, slots=True)
class LiveOptions:
    flush_ms: int
    heartbeat_s: float
    max_items: int
    max_connections_per_address: int
    max_connections_per_account: int
    anonymous_viewing: bool
    simulated: bool

    @classmethod
    def from_settings(cls) -> "LiveOptions":
        return cls(
            settings.LIVE_FLUSH_MS,
            settings.LIVE_HEARTBEAT_S,
            settings.LIVE_MAX_SYMBOLS,
            settings.LIVE_MAX_CONNECTIONS_PER_ADDRESS,
            settings.LIVE_MAX_CONNECTIONS_PER_ACCOUNT,
            settings.ANONYMOUS_VIEWING,
            settings.MARKETDATA_SOURCE == "simulator",
        )


@dataclass(frozen=True, slots=True)
class Live:
    options: LiveOptions
    hub: Hub
    symbols: KnownSymbols
    addresses: Places
    accounts: Places
    access: Access
    sessions: Together[Any, Holder | None]


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Live] = WeakKeyDictionary()


def of_this_loop() -> Live:
    loop = asyncio.get_running_loop()
    if loop not in _by_loop:
        _by_loop[loop] = _from_settings()
    return _by_loop[loop]


async def close() -> None:
    """Says goodbye to the browsers of this loop and closes what was opened for it."""
    live = _by_loop.pop(asyncio.get_running_loop(), None)
    if live is not None:
        live.access.close()
        await live.hub.close()


def _from_settings() -> Live:
    options = LiveOptions.from_settings()
    hub = Hub(
        AsyncLiveCache.from_settings(),
        LiveSubscription.from_settings(),
        stored_quotes,
        HubOptions(options.flush_ms / 1000, options.heartbeat_s),
    )
    known = KnownSymbols(symbol_keys, time.monotonic)
    addresses = places_of_addresses(options.max_connections_per_address)
    accounts = places_of_accounts(options.max_connections_per_account)
    access, sessions = Access(who_may_stay, time.time), Together(who_are)
    return Live(options, hub, known, addresses, accounts, access, sessions)


def stored_quotes() -> Mapping[str, bytes]:
    """Q by symbol as the database last knew it; `seq` 0 says that it comes from there."""
    stored = QuoteStore(Database()).load()
    return {symbol: encode_quote(quote, 0, updated_ms) for symbol, (quote, updated_ms) in stored.items()}


def symbol_keys() -> Iterable[str]:
    with at_most(SYMBOLS_LIMIT_S):
        table = Database().collection(Symbol._meta.db_table)
        return [document["_id"] for document in table.find({}, {"_id": True})]
