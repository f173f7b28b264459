from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS, Interval
from infrastructure.simulator.catalogue import CATALOGUE
from infrastructure.simulator.market import Market
from infrastructure.simulator.prices import NO_TRADES

MINUTE = INTERVALS["1m"]
LONGER = [interval for name, interval in INTERVALS.items() if name != "1m"]
TRADED = [item.name for item in CATALOGUE]


def utc(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc,arg-type]


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(seed=1)


def built_from_minutes(market: Market, name: str, interval: Interval, start_ms: int, end_ms: int) -> list[Bar]:
    """The long way round: every minute asked for its bar, one by one."""
    item = market.symbol(name)
    groups: dict[int, list[Bar]] = defaultdict(list)
    margin = interval.length_ms + 4 * DAY_MS  # so that the last bar of the range is complete
    for minute in market.bars(name, MINUTE, start_ms, end_ms + margin):
        open_ms = item.hours.bar_open_ms(minute.time_ms, interval)
        assert open_ms is not None
        groups[open_ms].append(minute)
    digits = len(str(item.volume_scale)) - 1
    return [
        Bar(
            open_ms,
            minutes[0].open,
            max(minute.high for minute in minutes),
            min(minute.low for minute in minutes),
            minutes[-1].close,
            round(sum(minute.volume for minute in minutes), digits),
        )
        for open_ms, minutes in groups.items()
        if start_ms <= open_ms < end_ms
    ]


WEEKS = {
    "New York springs forward": utc(2026, 3, 5),
    "London springs forward": utc(2026, 3, 26),
    "London falls back": utc(2026, 10, 22),
    "New York falls back": utc(2026, 10, 29),
    "Thanksgiving closes early": utc(2025, 11, 24),
}
KINDS = ["BINANCE:BTCUSDT", "TEST:RARE", "NASDAQ:AAPL", "LSE:VOD", "HKEX:700", "CME_MINI:ES1!", "FX:EURUSD"]


@pytest.mark.parametrize("interval", LONGER, ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_every_longer_bar_equals_its_minutes(market: Market, name: str, interval: Interval) -> None:
    start_ms = WEEKS["New York springs forward"]
    end_ms = start_ms + 7 * DAY_MS
    bars = market.bars(name, interval, start_ms, end_ms)
    assert list(bars) == built_from_minutes(market, name, interval, start_ms, end_ms)


@pytest.mark.parametrize("week", WEEKS)
def test_hours_and_days_equal_their_minutes_when_clocks_change(market: Market, week: str) -> None:
    start_ms = WEEKS[week]
    end_ms = start_ms + 7 * DAY_MS
    for name in ("NASDAQ:AAPL", "LSE:VOD", "FX:EURUSD"):
        for interval in (INTERVALS["1h"], INTERVALS["1d"]):
            bars = list(market.bars(name, interval, start_ms, end_ms))
            assert bars == built_from_minutes(market, name, interval, start_ms, end_ms)


def test_days_start_with_their_exchange(market: Market) -> None:
    first_days = {
        "NASDAQ:AAPL": [utc(2026, 3, 6, 14, 30), utc(2026, 3, 9, 13, 30)],
        "NSE:RELIANCE": [utc(2026, 3, 6, 3, 45), utc(2026, 3, 9, 3, 45)],
        "CME_MINI:ES1!": [utc(2026, 3, 5, 23, 0), utc(2026, 3, 8, 22, 0)],
        "BINANCE:BTCUSDT": [utc(2026, 3, day) for day in (6, 7, 8, 9)],
    }
    for name, times in first_days.items():
        days = market.bars(name, INTERVALS["1d"], utc(2026, 3, 5, 20), utc(2026, 3, 9, 20))
        assert days.time_ms.tolist() == times


@pytest.mark.parametrize("name", TRADED)
def test_the_trades_of_a_minute_are_its_bar(market: Market, name: str) -> None:
    item = market.symbol(name)
    for bar in market.last(name, MINUTE, 50, utc(2026, 11, 20, 15)):
        trades = market.trades(name, bar.time_ms)
        prices = [ticks * item.minmov / item.pricescale for ticks in trades.price]
        assert (prices[0], max(prices), min(prices), prices[-1]) == (bar.open, bar.high, bar.low, bar.close)
        assert trades.time_ms == sorted(trades.time_ms)
        assert bar.time_ms <= trades.time_ms[0] and trades.time_ms[-1] < bar.time_ms + MINUTE_MS
        assert all(later >= earlier for earlier, later in pairwise(trades.volume))
        if item.has_volume:
            assert trades.volume[-1] / item.volume_scale == bar.volume


@pytest.mark.parametrize("interval", INTERVALS.values(), ids=str)
@pytest.mark.parametrize("name", ["BINANCE:BTCUSDT", "NASDAQ:AAPL", "LSE:VOD", "CME_MINI:ES1!"])
def test_the_forming_bar_becomes_the_finished_one(market: Market, name: str, interval: Interval) -> None:
    item = market.symbol(name)
    finished = next(iter(market.last(name, interval, 1, utc(2026, 10, 15, 15))))
    end_ms = item.hours.bar_close_ms(finished.time_ms, interval) + item.delay_s * 1000
    assert market.forming(name, interval, end_ms - 1) == finished
    assert list(market.history(name, interval, 3, end_ms - 1))[-1] == finished


def test_the_forming_bar_is_made_of_the_trades_so_far(market: Market) -> None:
    start_ms = utc(2026, 11, 20, 15, 7)
    item = market.symbol("NASDAQ:AAPL")
    trades = market.trades("NASDAQ:AAPL", start_ms)
    for index, at_ms in enumerate(trades.time_ms):
        so_far = [ticks / item.pricescale for ticks in trades.price[: index + 1]]
        bar = market.forming("NASDAQ:AAPL", MINUTE, at_ms)
        assert bar == Bar(start_ms, so_far[0], max(so_far), min(so_far), so_far[-1], float(trades.volume[index]))
    assert market.forming("NASDAQ:AAPL", MINUTE, start_ms) == market.forming(
        "NASDAQ:AAPL", MINUTE, trades.time_ms[0] - 1
    )


def test_any_part_of_history_is_the_same_as_when_asked_as_a_whole(market: Market) -> None:
    start_ms = utc(2026, 1, 1)
    whole = market.bars("BITSTAMP:BTCUSD", MINUTE, start_ms, start_ms + 30 * DAY_MS)
    other = Market(seed=1)
    for day in (29, 3, 17):
        part = other.bars("BITSTAMP:BTCUSD", MINUTE, start_ms + day * DAY_MS, start_ms + (day + 1) * DAY_MS)
        assert part.same_as(whole.between(start_ms + day * DAY_MS, start_ms + (day + 1) * DAY_MS))


def test_another_seed_is_another_market(market: Market) -> None:
    arguments = ("NASDAQ:AAPL", MINUTE, utc(2026, 11, 20), utc(2026, 11, 21))
    assert Market(seed=1).bars(*arguments).same_as(market.bars(*arguments))
    assert not Market(seed=2).bars(*arguments).same_as(market.bars(*arguments))


def test_some_minutes_of_a_rare_instrument_have_no_bar(market: Market) -> None:
    bars = market.bars("TEST:RARE", MINUTE, utc(2026, 11, 20), utc(2026, 11, 21))
    assert 200 < len(bars) < 520
    assert market.trades("TEST:RARE", int(bars.time_ms[0])) is not NO_TRADES


def test_an_index_without_volume_says_so(market: Market) -> None:
    bars = market.last("TVC:RUT", MINUTE, 10, utc(2026, 11, 20, 16))
    assert bars.same_as(Bars(*bars.columns[:5], bars.time_ms * float("nan")))
    assert market.quote("TVC:RUT", utc(2026, 11, 20, 16)).volume is None


def test_history_starts_with_the_first_trading_day(market: Market) -> None:
    for interval in INTERVALS.values():
        first_ms = market.first_ms("NASDAQ:NEWCO", interval)
        everything = market.last("NASDAQ:NEWCO", interval, 10**6, utc(2026, 11, 23))
        assert everything.time_ms[0] == first_ms
    assert market.first_ms("NASDAQ:NEWCO", MINUTE) == utc(2026, 10, 26, 13, 30)


def test_a_quote_agrees_with_the_bars(market: Market) -> None:
    now_ms = utc(2026, 11, 20, 15, 7, 31)
    for name in ("NASDAQ:AAPL", "BINANCE:ETHUSDT", "LSE:VOD", "CME_MINI:ES1!"):
        quote = market.quote(name, now_ms)
        yesterday, today = market.history(name, INTERVALS["1d"], 2, now_ms)
        assert (quote.open, quote.high, quote.low, quote.last, quote.volume) == (
            today.open, today.high, today.low, today.close, today.volume,
        )  # fmt: skip
        assert quote.previous_close == yesterday.close
        assert quote.change == pytest.approx(today.close - yesterday.close)
        assert quote.bid is not None and quote.ask is not None and quote.bid < today.close < quote.ask
        assert quote.session == "market"


def test_a_quote_of_a_closed_market_is_of_its_last_day(market: Market) -> None:
    sunday = market.quote("NASDAQ:AAPL", utc(2026, 11, 22, 12))
    before, friday = market.last("NASDAQ:AAPL", INTERVALS["1d"], 2, utc(2026, 11, 22))
    assert (sunday.last, sunday.open, sunday.volume) == (friday.close, friday.open, friday.volume)
    assert (sunday.previous_close, sunday.session) == (before.close, "out_of_session")
    assert sunday.last_ms is not None and utc(2026, 11, 20, 20, 59) <= sunday.last_ms < utc(2026, 11, 20, 21)


def test_delayed_data_lag_behind(market: Market) -> None:
    now_ms = utc(2026, 11, 20, 15, 7, 31)
    quote = market.quote("LSE:VOD", now_ms)
    assert quote.last_ms is not None and 900_000 <= now_ms - quote.last_ms < 960_000
    assert (quote.currency, quote.update_mode) == ("GBX", "delayed_streaming_900")
    assert market.history("LSE:VOD", MINUTE, 1, now_ms).time_ms.tolist() == [utc(2026, 11, 20, 14, 52)]


def test_the_next_change_is_the_next_trade(market: Market) -> None:
    minute = utc(2026, 11, 20, 15, 7)
    trades = market.trades("TEST:TICK", minute)
    assert market.next_change_ms("TEST:TICK", trades.time_ms[3]) == trades.time_ms[4]
    following = market.trades("TEST:TICK", minute + MINUTE_MS)
    assert market.next_change_ms("TEST:TICK", trades.time_ms[-1]) == following.time_ms[0]
    assert market.next_change_ms("NASDAQ:AAPL", utc(2026, 11, 22, 12, 0, 5)) == utc(2026, 11, 22, 12, 1)


def test_old_and_venue_names_lead_to_the_same_instrument(market: Market) -> None:
    assert market.symbol("NASDAQ:FB") is market.symbol("NASDAQ:META") is market.symbol("BATS:META")
    assert market.info("NASDAQ:FB").aliases == ("NASDAQ:FB",)
    anonymous, paid = market.info("NASDAQ:AAPL"), market.info("NASDAQ:AAPL", paid=True)
    assert (anonymous.full_name, anonymous.exchange) == ("BATS:AAPL", "Cboe One")
    assert (paid.full_name, paid.exchange, paid.pro_name) == ("NASDAQ:AAPL", "NASDAQ", "NASDAQ:AAPL")
