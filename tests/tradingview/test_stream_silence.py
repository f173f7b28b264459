"""When a connection on which nothing is said counts as silent, and when the markets are merely closed."""

import pytest

from infrastructure.tradingview.base import Wanted
from infrastructure.tradingview.silence import QUIET_MS
from tests.tradingview.markets import CRYPTO, LONDON, NEW_YORK
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


NOON = NEW_YORK_OPEN + 2 * 3_600_000
BOTH = Wanted(frozenset({"NASDAQ:AAPL", "BINANCE:BTCUSDT"}), frozenset({("NASDAQ:AAPL", MINUTE)}))


def test_hours_that_the_platform_knows_tell_where_no_chart_does() -> None:
    evening = NEW_YORK_OPEN - 12 * 3_600_000
    talk = Talk(Wanted(frozenset({"A:A"}), hours={"A:A": NEW_YORK}), at=evening)
    talk.quote("A:A", at=evening, current_session="out_of_session")
    assert not silent(talk, NEW_YORK_OPEN + SILENCE_MS - 1)
    assert silent(talk, NEW_YORK_OPEN + SILENCE_MS)


def test_other_hours_change_no_session() -> None:
    wanted = Wanted(frozenset({"A:A"}), frozenset({("A:A", MINUTE)}), {"A:A": CRYPTO})
    talk = Talk(wanted, at=NOON)
    talk.quote("A:A", at=NOON)
    assert silent(talk, NOON + SILENCE_MS)
    assert talk.want(Wanted(wanted.quotes, wanted.bars)) == []
    assert not silent(talk, NOON + SILENCE_MS)


def test_a_market_that_falls_silent_is_found_while_others_tick() -> None:
    talk = Talk(BOTH, at=NOON)
    talk.history("NASDAQ:AAPL", flat(NEW_YORK_OPEN - 86_400_000), at=NOON)
    talk.quote("NASDAQ:AAPL", at=NOON, current_session="market")
    found = []
    for second in range(70):
        at = NOON + second * 1000
        talk.quote("BINANCE:BTCUSDT", at=at, lp=float(second), current_session="market")
        if silent(talk, at):
            found.append(second)
    assert found == [*range(60, 70)]
    assert talk.stream.silence(NOON + 69_000) == "No data of NASDAQ for 60 s though it is open."


def test_symbols_with_equal_hours_are_one_market() -> None:
    hours = {"NASDAQ:A": NEW_YORK, "NYSE:B": NEW_YORK, "LSE:C": LONDON}
    talk = Talk(Wanted(frozenset(hours), hours=hours), at=NOON)
    for symbol in hours:
        talk.quote(symbol, at=NOON, current_session="market")
    talk.quote("NYSE:B", at=NOON + 30_000, lp=1.0)
    talk.quote("LSE:C", at=NOON + 30_000, lp=1.0)
    assert talk.stream.silence(NOON + 89_999) == ""
    assert talk.stream.silence(NOON + 90_000) == "No data of LSE, NASDAQ, NYSE for 60 s though they are open."
    talk.quote("LSE:C", at=NOON + 90_000, lp=2.0)
    assert talk.stream.silence(NOON + 90_000) == "No data of NASDAQ, NYSE for 60 s though they are open."


def test_a_symbol_wanted_later_has_time_to_answer() -> None:
    talk = Talk(quotes("A:A"), at=NOON)
    talk.quote("A:A", at=NOON)
    talk.want(Wanted(frozenset({"A:A", "B:B"}), hours={"B:B": CRYPTO}), at=NOON + 3_600_000)
    assert not silent(talk, NOON + 3_600_000 + SILENCE_MS - 1)
    assert silent(talk, NOON + 3_600_000 + SILENCE_MS)


def test_the_connection_is_made_anew_once_for_a_market_that_stays_silent() -> None:
    wanted = Wanted(frozenset({"A:A", "A:B", "C:C"}))
    first = Talk(wanted, at=NOON)
    first.quote("A:A", at=NOON, current_session="market")
    assert silent(first, NOON + SILENCE_MS, NOON)
    first.stream.note_silence(NOON + SILENCE_MS)

    again = NOON + SILENCE_MS
    second = Talk(wanted, at=again, quiet=first.quiet)
    second.quote("A:A", at=again, current_session="market")  # an answer is no change
    assert not silent(second, again + 10**7, again)
    assert second.stream.silence(again + 10**7) == "No data of A for 60 s though it is open."

    later = again + 10**7
    second.quote("A:A", at=later, lp=1.0)
    assert second.stream.silence(later) == ""
    assert silent(second, later + SILENCE_MS, again)


def test_a_market_in_which_somebody_trades_now_and_then_is_no_reason_again_for_a_while() -> None:
    talk = Talk(quotes("A:A"), at=NOON, quiet={"A:A": NOON})
    talk.quote("A:A", at=NOON, current_session="market")
    early, late = NOON + QUIET_MS - 1, NOON + QUIET_MS
    talk.quote("A:A", at=early, lp=1.0)
    assert not silent(talk, early + SILENCE_MS, NOON)
    talk.quote("A:A", at=late, lp=2.0)
    assert silent(talk, late + SILENCE_MS, NOON)


def test_bars_too_tell_an_answer_from_a_change() -> None:
    talk = Talk(minutes("A:A"), at=NOON, quiet={"A:A": 0})
    talk.history("A:A", flat(NOON), at=NOON)
    assert not silent(talk, NOON + SILENCE_MS)
    talk.hear(bars(talk.charts["A:A", "1"], flat(NOON, 2.0), name="du"), at=NOON + SILENCE_MS)
    assert silent(talk, NOON + 2 * SILENCE_MS)


def test_what_is_no_longer_wanted_is_forgotten() -> None:
    talk = Talk(quotes("A:A", "B:B"), quiet={"A:A": 0, "B:B": 0})
    talk.want(quotes("B:B"))
    assert talk.quiet == {"B:B": 0}


def test_an_expired_token_is_a_reason_each_time() -> None:
    """It brings no answer, so the silence is not the market's."""
    talk = Talk(Wanted(frozenset({"A:A"}), hours={"A:A": CRYPTO}))
    assert silent(talk, T + SILENCE_MS)
    assert talk.stream.silence(T + SILENCE_MS) == "No answer for 60 s."
    talk.stream.note_silence(T + SILENCE_MS)
    assert silent(Talk(quotes("A:A"), quiet=talk.quiet), T + SILENCE_MS)


def test_the_word_on_a_market_counts_only_while_its_quotes_are_wanted() -> None:
    talk = Talk(Wanted(frozenset({"A:A"}), frozenset({("A:A", MINUTE)})), at=NOON)
    talk.history("A:A", flat(NOON), at=NOON)
    talk.quote("A:A", at=NOON, current_session="market")
    close = NEW_YORK_OPEN + 6 * 3_600_000 + 1_800_000
    assert silent(talk, close)
    talk.want(minutes("A:A"), at=NOON)
    assert not silent(talk, close)
