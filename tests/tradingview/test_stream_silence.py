"""When a connection on which nothing is said counts as silent, and when the markets are merely closed."""

import pytest

from infrastructure.tradingview.base import Wanted
from tests.tradingview.stream_talk import SILENCE_MS, T, Talk
from tests.tradingview.talk import bars, completed, flat, resolved, say
from tests.tradingview.wishes import MINUTE, minutes, quotes

NEW_YORK_OPEN = 1699626600000  # Friday 2023-11-10, 09:30; Monday opens three days later


def silent(talk: Talk, at: int, since: int = T) -> bool:
    return talk.stream.is_silent(at, since)


def test_an_open_market_without_data_is_silent() -> None:
    talk = Talk(quotes("A:A", "B:B"))
    talk.quote("A:A", at=T + 5_000, current_session="market")
    assert not silent(talk, T + 64_999)
    assert silent(talk, T + 65_000)
    talk.quote("A:A", at=T + 66_000, lp=1.0)
    assert not silent(talk, T + 70_000)


@pytest.mark.parametrize("session", ["out_of_session", "pre_market", "post_market", None])
def test_a_market_that_is_not_open_may_be_silent(session: str | None) -> None:
    talk = Talk(quotes("A:A"))
    talk.quote("A:A", lp=1.0, current_session=session)
    assert not silent(talk, T + 10**9)


def test_heartbeats_alone_are_silence_whatever_the_market_does() -> None:
    talk = Talk(quotes("A:A"))
    talk.hear("~m~4~m~~h~1", at=T + 10_000)
    assert not silent(talk, T + 59_999)
    assert silent(talk, T + 60_000)


def test_nothing_wanted_is_not_silent() -> None:
    assert not silent(Talk(Wanted()), T + 10**9)


def test_an_answer_that_all_is_refused_is_data() -> None:
    talk = Talk(quotes("X:X"))
    talk.hear(say("qsd", talk.quotes, {"n": "X:X", "s": "error", "errmsg": "no_such_symbol", "v": {}}))
    assert not silent(talk, T + 10**9)


def test_the_trading_hours_tell_where_no_quote_does() -> None:
    talk = Talk(minutes("A:A"), at=NEW_YORK_OPEN - 3_600_000)
    talk.history("A:A", flat(NEW_YORK_OPEN - 86_400_000), at=NEW_YORK_OPEN - 3_600_000)
    assert not silent(talk, NEW_YORK_OPEN - 1)
    assert not silent(talk, NEW_YORK_OPEN + SILENCE_MS - 1)  # at the bell there has been no silence yet
    assert silent(talk, NEW_YORK_OPEN + SILENCE_MS)
    close = NEW_YORK_OPEN + 6 * 3_600_000 + 1_800_000
    assert silent(talk, close - 1)
    assert not silent(talk, close)


def test_a_feed_that_died_overnight_is_found_when_the_market_should_have_opened() -> None:
    evening = NEW_YORK_OPEN - 12 * 3_600_000
    talk = Talk(Wanted(frozenset({"A:A"}), frozenset({("A:A", MINUTE)})), at=evening)
    talk.history("A:A", flat(NEW_YORK_OPEN - 86_400_000), at=evening)
    talk.quote("A:A", at=evening, current_session="out_of_session")
    assert not silent(talk, NEW_YORK_OPEN + SILENCE_MS - 1)
    assert silent(talk, NEW_YORK_OPEN + SILENCE_MS)


def test_the_source_knows_of_closures_that_the_hours_do_not() -> None:
    noon = NEW_YORK_OPEN + 2 * 3_600_000
    talk = Talk(Wanted(frozenset({"A:A"}), frozenset({("A:A", MINUTE)})), at=noon)
    talk.history("A:A", flat(NEW_YORK_OPEN - 86_400_000), at=noon)
    talk.quote("A:A", at=noon, current_session="out_of_session")
    assert not silent(talk, noon + 3_600_000)


def test_a_delayed_market_opens_later() -> None:
    talk = Talk(minutes("A:A"), at=NEW_YORK_OPEN - 3_600_000)
    chart = talk.charts["A:A", "1"]
    talk.hear(
        resolved(chart), bars(chart, flat(0)), completed(chart, "delayed_streaming_900"), at=NEW_YORK_OPEN - 10**6
    )
    assert not silent(talk, NEW_YORK_OPEN + 900_000 + SILENCE_MS - 1)
    assert silent(talk, NEW_YORK_OPEN + 900_000 + SILENCE_MS)
