import pytest

from infrastructure.errors import InfrastructureError, Malformed, Rejected, Unavailable
from infrastructure.tradingview.messages import ProtocolError, QuoteCompleted
from infrastructure.tradingview.session import Session
from tests.tradingview.talk import Draws, hello, new_session, say, sent


def test_the_token_is_sent_first_and_once() -> None:
    session = Session("a-token", Draws())
    assert sent(session) == [("set_auth_token", "a-token"), ("set_locale", "en", "US")]
    assert sent(session) == []


def test_a_heartbeat_is_echoed_wherever_it_stands() -> None:
    session = new_session()
    text = "~m~4~m~~h~7" + say("quote_completed", "qs", "A:B") + "~m~5~m~~h~10"
    assert session.receive(text, 0) == [QuoteCompleted("qs", "A:B")]
    assert session.to_send() == ["~m~4~m~~h~7", "~m~5~m~~h~10"]


def test_one_message_that_cannot_be_read_leaves_the_others() -> None:
    first, error, last = new_session().receive(
        say("quote_completed", "qs", "A:B") + '~m~10~m~{"m":"qsd"' + say("quote_completed", "qs", "C:D"), 0
    )
    assert (first, last) == (QuoteCompleted("qs", "A:B"), QuoteCompleted("qs", "C:D"))
    assert isinstance(error, Malformed)
    assert error.sample == '{"m":"qsd"'


def test_framing_that_lies_ends_the_connection() -> None:
    with pytest.raises(Malformed):
        new_session().receive("<html>", 0)


def test_the_servers_clock_is_the_hellos_and_then_that_of_later_messages() -> None:
    session = new_session()
    assert session.server_ms(1_000) == 1_000
    assert session.receive(hello(5_000), 1_000) == []
    assert session.server_ms(1_500) == 5_500
    session.receive(say("series_loading", "cs", "sds_1", "s1", t_ms=9_000), 2_000)
    assert session.server_ms(2_000) == 9_000


def test_messages_nobody_needs_are_counted() -> None:
    session = new_session()
    assert session.receive(say("series_timeframe", "cs") + say("brand_new", 1), 0) == []
    assert session.unknown == 2


@pytest.mark.parametrize(
    ("reason", "kind", "sentence"),
    [
        (
            "bad auth token",
            Rejected,
            "TradingView refuses the TRADINGVIEW_AUTH_TOKEN: bad auth token. It may have expired.",
        ),
        (
            "token has expired",
            Rejected,
            "TradingView refuses the TRADINGVIEW_AUTH_TOKEN: token has expired. It may have expired.",
        ),
        ("max sessions rate reached", Unavailable, "TradingView wants fewer requests: max sessions rate reached."),
        ("wrong data", Unavailable, "TradingView ended the connection: wrong data."),
        ("wrong data: a-token", Unavailable, "TradingView ended the connection: wrong data: <token>."),
    ],
)
def test_a_protocol_error_says_what_to_do(reason: str, kind: type[InfrastructureError], sentence: str) -> None:
    with pytest.raises(kind) as caught:
        new_session("a-token").receive(say("protocol_error", reason), 0)
    assert str(caught.value) == sentence


def test_a_protocol_error_may_come_without_a_reason() -> None:
    assert ProtocolError().reason == ""
    with pytest.raises(Unavailable, match="without a reason"):
        new_session().receive(say("protocol_error"), 0)


def test_names_are_of_their_kind_and_differ() -> None:
    session = new_session()
    names = {session.new_name("cs_") for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("cs_") and len(name) == 15 and name[3:].isalpha() for name in names)
