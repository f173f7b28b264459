"""Texts of clients and messages of the server, exactly."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.bars import Bar
from infrastructure.intervals import INTERVALS
from infrastructure.tradingview.base import Quote
from marketdata.live import protocol
from marketdata.live.errors import Code, Refusal
from marketdata.live.protocol import Auth, Pong, Position, Reset, Subscribe, Unsubscribe, parse
from marketdata.services.feed_report import Feed
from tests.live.schema import checked


def test_a_subscription_names_quotes_and_bars() -> None:
    text = '{"op":"subscribe","id":7,"quotes":["NASDAQ:AAPL"],"bars":["NASDAQ:AAPL@1m"]}'
    assert parse(text) == Subscribe(7, ["NASDAQ:AAPL"], ["NASDAQ:AAPL@1m"])


def test_id_and_lists_may_be_missing_and_unknown_fields_are_ignored() -> None:
    assert parse('{"op":"subscribe","future":{"a":[1]}}') == Subscribe(None, [], [])
    assert parse('{"id":"x","op":"unsubscribe","bars":["A:B@1d"]}') == Unsubscribe("x", [], ["A:B@1d"])
    assert parse('{"op":"reset"}') == Reset()
    assert parse('{"op":"pong","n":3}') == Pong(3)
    assert parse('{"op":"auth","key":"md_1"}') == Auth(key="md_1")
    assert parse('{"op":"reset","since":{"epoch":"x","offset":"1-0"}}') == Reset(since=Position("x", "1-0"))


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("nope", Code.NOT_JSON, "JSON is malformed: invalid character (byte 4)."),
        ("", Code.NOT_JSON, "Input data was truncated."),
        ('{"op":"subscribe"', Code.NOT_JSON, "Input data was truncated."),
        ("[]", Code.NOT_UNDERSTOOD, "Expected `object`, got `array`."),
        ("{}", Code.NOT_UNDERSTOOD, "Object missing required field `op`."),
        ('{"op":"buy"}', Code.NOT_UNDERSTOOD, "Invalid value 'buy' - at `$.op`."),
        ('{"op":"subscribe","quotes":[1]}', Code.NOT_UNDERSTOOD, "Expected `str`, got `int` - at `$.quotes[0]`."),
        ('{"op":"subscribe","quotes":"A"}', Code.NOT_UNDERSTOOD, "Expected `array`, got `str` - at `$.quotes`."),
        ('{"op":"pong","n":1.5}', Code.NOT_UNDERSTOOD, "Expected `int`, got `float` - at `$.n`."),
        (
            '{"op":"subscribe","x":' + "[" * 30_000 + "]" * 30_000 + "}",
            Code.NOT_UNDERSTOOD,
            "The message is nested too deeply.",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_a_number_and_a_sentence(text: str, code: Code, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse(text)
    assert (refused.value.code, refused.value.message) == (code, message)


@pytest.mark.parametrize("text", ['{"op":"\ud800"}', '{"op":"reset","id":"\\ud800"}', '"\udfff"', "\ufeff{}", "\x00"])
def test_what_is_no_unicode_is_no_json(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse(text)
    assert refused.value.code == Code.NOT_JSON


def test_a_reason_repeats_no_more_of_the_message_than_a_person_reads() -> None:
    with pytest.raises(Refusal) as refused:
        parse(json.dumps({"op": "x" * 60_000}))
    assert len(refused.value.message) == protocol.MAX_REASON_LENGTH + 1


def test_of_a_field_that_is_given_twice_the_last_counts_but_there_is_one_operation() -> None:
    assert parse('{"op":"reset","id":1,"id":2}') == Reset(2)
    with pytest.raises(Refusal):
        parse('{"op":"pong","op":"reset"}')


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
requests = st.fixed_dictionaries(
    {},
    optional={
        name: json_values | usual
        for name, usual in {
            "op": st.sampled_from([str(one.__struct_config__.tag) for one in get_args(protocol.Operation)] + ["buy"]),
            "id": st.integers(),
            "quotes": st.lists(st.text(max_size=10), max_size=3),
            "bars": st.lists(st.text(max_size=10), max_size=3),
            "since": st.fixed_dictionaries({"epoch": st.text(), "offset": st.text()}),
            "n": st.integers(),
            "ticket": st.text(max_size=10),
            "key": st.text(max_size=10),
        }.items()
    },
)


@given(st.text() | st.text(alphabet='{}[]":,\\0e-opub\ud800', max_size=60) | requests.map(json.dumps))
def test_any_text_is_an_operation_that_can_be_answered_or_is_refused(text: str) -> None:
    try:
        operation = parse(text)
    except Refusal as refusal:
        assert refusal.code in (Code.NOT_JSON, Code.NOT_UNDERSTOOD)
        checked(json.loads(protocol.encode(protocol.Error(refusal.code, refusal.message))))
    else:
        assert isinstance(operation, get_args(protocol.Operation))
        if isinstance(operation, protocol.Request):
            answer = protocol.Subscribed(operation.id, operation.quotes, operation.bars, [])
            assert checked(json.loads(protocol.encode(answer)))["id"] == operation.id


def test_a_quote_is_its_whole_state_with_null_for_unknown() -> None:
    quote = Quote("KRX:005930", 71000.0, 1700000000000, -1.5, -0.25, bid=70900.0, description="삼성전자",
                  update_mode="delayed_streaming_900", venue="KRX", currency="KRW", session="market")  # fmt: skip
    assert protocol.encode_quote(quote, 9, 1700000000123).decode() == (
        '{"s":"KRX:005930","seq":9,"last":71000.0,"last_ms":1700000000000,"ch":-1.5,"chp":-0.25,"bid":70900.0,'
        '"ask":null,"bid_size":null,"ask_size":null,"vol":null,"open":null,"high":null,"low":null,"prev":null,'
        '"session":"market","mode":"delayed_streaming_900","delay_s":900,"venue":"KRX","currency":"KRW",'
        '"description":"삼성전자","ms":1700000000123}'
    )


def test_a_float_that_is_no_number_is_null() -> None:
    quote = json.loads(protocol.encode_quote(Quote("A:B", last=float("nan"), bid=float("inf")), 1, 2))
    assert (quote["last"], quote["bid"]) == (None, None)


def test_a_bar_without_volume_says_null() -> None:
    bar = Bar(60_000, 1.0, 2.0, 0.5, 1.5, float("nan"))
    assert protocol.encode_bar("SP:SPX", INTERVALS["1m"], 4, bar, False, 120_000).decode() == (
        '{"s":"SP:SPX","i":"1m","seq":4,"t":60000,"o":1.0,"h":2.0,"l":0.5,"c":1.5,"v":null,'
        '"closed":false,"close_ms":120000}'
    )


def test_messages_of_the_server() -> None:
    feed = Feed("live", "", 1, 2, "simulator", True, 3, 4)
    feed_json = (
        '{"state":"live","reason":"","since_ms":1,"at_ms":2,"source":"simulator","simulated":true,"fence":3,'
        '"symbols":4,"waiting_bars":0}'
    )
    hello = protocol.Hello(1, "3", 5, 25.0, 50, True, protocol.Limits(1000, 65536, 20.0, 50, 40), feed)
    texts = {
        protocol.encode(message)
        for message in (
            hello,
            protocol.Subscribed(1, ["A:B"], [], [protocol.Refused("A:C", 4010, "Unknown.")]),
            protocol.Status("3", feed),
            protocol.Ping(1),
            protocol.Ping(2, Position("x", "1-0")),
            protocol.Error(Code.NOT_JSON, "No."),
            protocol.Error(Code.NOT_JSON, "No.", "x"),
            protocol.Bye(Code.RESTARTING, "Soon back.", True),
        )
    }
    assert texts == {
        '{"type":"hello","protocol":1,"epoch":"3","server_ms":5,"heartbeat_s":25.0,"flush_ms":50,"simulated":true,'
        '"limits":{"symbols":1000,"message_bytes":65536,"messages_per_s":20.0,"connections_per_address":50,'
        '"connections_per_account":40},'
        f'"feed":{feed_json}}}',
        '{"type":"subscribed","id":1,"quotes":["A:B"],"bars":[],'
        '"refused":[{"item":"A:C","code":4010,"reason":"Unknown."}]}',
        f'{{"type":"status","epoch":"3","feed":{feed_json}}}',
        '{"type":"ping","n":1}',
        '{"type":"ping","n":2,"log":{"epoch":"x","offset":"1-0"}}',
        '{"type":"error","code":4000,"message":"No."}',
        '{"type":"error","code":4000,"message":"No.","id":"x"}',
        '{"type":"bye","code":4100,"reason":"Soon back.","reconnect":true}',
    }


def test_values_join_what_is_json_already() -> None:
    assert protocol.values("update", ['{"s":"A"}', '{"s":"B"}'], []) == (
        '{"type":"update","quotes":[{"s":"A"},{"s":"B"}],"bars":[]}'
    )


def test_topics_of_bars_are_split_at_the_last_at_sign() -> None:
    assert protocol.split_topic("A:B@1m") == ("A:B", "1m")
    assert protocol.split_topic("A:B") == ("A:B", "")
    assert protocol.split_topic("@1m") == ("@1m", "")


@pytest.mark.parametrize("symbol", ["", "A|B", "A@B", "A\nB", "A\tB", "X" * 81])
def test_a_symbol_that_would_break_a_block_cannot_be_sent(symbol: str) -> None:
    assert not protocol.sendable(symbol)


@pytest.mark.parametrize("symbol", ["NASDAQ:AAPL", "CME_MINI:ES1!", "KRX:005930", "NSE:M&M", "A:BRK.B"])
def test_symbols_as_exchanges_write_them_can_be_sent(symbol: str) -> None:
    assert protocol.sendable(symbol)


def test_the_number_of_an_error_says_whether_the_connection_ends_and_whether_to_reconnect() -> None:
    assert {code.name: (code.closes, code.reconnect) for code in Code} == {
        "NOT_JSON": (False, True),
        "NOT_UNDERSTOOD": (False, True),
        "BINARY": (False, True),
        "UNKNOWN_SYMBOL": (False, True),
        "UNKNOWN_INTERVAL": (False, True),
        "TOO_MANY_ITEMS": (False, True),
        "UNCHECKED": (False, True),
        "RESTARTING": (True, True),
        "NO_HEARTBEAT": (True, True),
        "TOO_SLOW": (True, True),
        "TICKET_EXPIRED": (True, True),
        "AUTH_UNCHECKED": (True, True),
        "TOO_MANY_CONNECTIONS": (True, True),
        "TOO_MANY_OF_ACCOUNT": (True, True),
        "NOT_ALLOWED": (True, False),
        "MESSAGE_TOO_LARGE": (True, False),
        "TOO_MANY_MESSAGES": (True, False),
        "ACCESS_ENDED": (True, False),
        "AUTH_FAILED": (True, False),
        "TOO_MANY_FAILURES": (True, False),
    }
