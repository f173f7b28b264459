"""The platform's fixtures: a simulator whose clock stands still as the source, empty collections; and known symbols."""

import pytest

from infrastructure.tradingview import IDataProvider
from tests.history.backfilling import COIN, ETHER, SHARE, YOUNG
from tests.platform.conftest import add_symbol, bars, client_of, empty, frozen, provider, source

__all__ = ["bars", "client_of", "empty", "frozen", "provider", "source"]


@pytest.fixture
def known(provider: IDataProvider) -> None:
    for key in (COIN, ETHER, SHARE):
        add_symbol(provider, key)
    add_symbol(provider, YOUNG, active=False)
