import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from infrastructure.simulator import PAID_TOKEN, SimulatorServer, StandingClock, tokens
from tests.simulator.conftest import FRIDAY_MS
from tests.simulator.talk import ORIGIN, chart, talk


def test_heartbeats_count_up_and_an_echo_keeps_the_connection() -> None:
    with SimulatorServer(heartbeat_s=0.05, echo_timeout_s=0.2) as server, talk(server) as client:
        while len(client.heartbeats) < 12:
            client.batch()
    assert client.heartbeats == [f"~h~{n}" for n in range(1, 13)]


def test_a_client_that_never_echoes_is_closed() -> None:
    with (
        SimulatorServer(heartbeat_s=0.05, echo_timeout_s=0.2) as server,
        talk(server, echo=False) as client,
        pytest.raises(ConnectionClosed),
    ):
        while True:
            client.batch()
    assert client.heartbeats[:3] == ["~h~1", "~h~2", "~h~3"]


@pytest.mark.parametrize("origin", [None, "https://example.org", "http://tradingview.com.example.org"])
def test_a_foreign_origin_is_refused_in_the_handshake(server: SimulatorServer, origin: str | None) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        connect(server.websocket_url, origin=origin, proxy=None)  # type: ignore[arg-type]
    assert refusal.value.response.status_code == 403


def test_one_good_origin_of_two_is_enough_and_the_query_is_free(server: SimulatorServer) -> None:
    headers = [("Origin", "http://127.0.0.1"), ("Origin", "https://data.tradingview.com")]
    with connect(server.websocket_url + "?from=chart%2F&type=chart", additional_headers=headers, proxy=None) as socket:
        assert '"session_id"' in str(socket.recv(timeout=20))


def test_any_origin_is_accepted_by_option() -> None:
    with SimulatorServer(check_origin=False) as server, connect(server.websocket_url, proxy=None) as socket:
        assert '"session_id"' in str(socket.recv(timeout=20))


def test_traffic_is_not_compressed(server: SimulatorServer) -> None:
    with connect(server.websocket_url, origin=ORIGIN, compression="deflate", proxy=None) as socket:  # type: ignore[arg-type]
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


def test_too_many_connections_are_told_so() -> None:
    with SimulatorServer(max_connections=1) as server, talk(server) as client:
        client.message()
        with pytest.raises(InvalidStatus) as refusal:
            connect(server.websocket_url, origin=ORIGIN, proxy=None)  # type: ignore[arg-type]
    assert refusal.value.response.status_code == 429


def test_a_bad_token_ends_the_connection(server: SimulatorServer) -> None:
    with talk(server, token="nonsense") as client:
        assert client.until("protocol_error")[-1]["p"] == ["bad auth token"]
        with pytest.raises(ConnectionClosed):
            client.batch()


def test_an_expired_token_gives_heartbeats_and_no_data(clock: StandingClock) -> None:
    token = tokens.issue(FRIDAY_MS, life_s=60)
    with SimulatorServer(clock=clock, heartbeat_s=0.05) as server, talk(server, token=token) as client:
        chart(client, "TEST:TICK", "1", 3)
        client.until("series_completed")
        clock.at_ms += 61_000
        seen = len(client.batches)
        client.send("request_more_data", "cs_1", "sds_1", 3)
        while len(client.batches) < seen + 5:
            client.batch()
    assert {payload[:3] for batch in client.batches[seen:] for payload in batch} == {"~h~"}


def test_text_that_is_no_row_of_frames_ends_the_connection(server: SimulatorServer) -> None:
    for text in ("hello", "~m~5~m~~h~1", "~m~3~m~{}x", "~m~4~m~[1]x"):
        with talk(server) as client:
            client.message()
            client.socket.send(text)
            assert client.until("protocol_error")[-1]["p"] == ["wrong data"]


def test_lengths_from_clients_are_utf16_units(server: SimulatorServer) -> None:
    payload = json.dumps({"m": "quote_add_symbols", "p": ["qs_1", "🍚:X"]}, ensure_ascii=False)
    with talk(server) as client:
        client.send("quote_create_session", "qs_1")
        client.socket.send(f"~m~{len(payload) + 1}~m~{payload}")
        assert client.until("qsd")[-1]["p"][1]["n"] == "🍚:X"


def test_unknown_and_idle_messages_are_ignored(server: SimulatorServer) -> None:
    with talk(server) as client:
        client.send("set_locale", "en", "US")
        client.send("set_data_quality", "low")
        client.send("no_such_message", 1, 2, 3)
        client.send("chart_create_session", "cs_1", "")
        client.send("switch_timezone", "cs_1", "Etc/UTC")
        client.send("chart_delete_session", "cs_1")
        chart(client, "NASDAQ:KO", "1D", 3, session="cs_2")
        messages = client.until("series_error")
    assert [message.get("m") for message in messages] == [None, "series_loading", "symbol_error", "series_error"]


def test_frames_come_one_by_one_on_demand(clock: StandingClock) -> None:
    with SimulatorServer(clock=clock, batching=False) as server, talk(server, token=PAID_TOKEN) as client:
        chart(client, "NASDAQ:AAPL", "1D", 3)
        client.until("series_completed")
    assert [len(batch) for batch in client.batches] == [1, 1, 1, 1, 1]


def test_too_many_sessions_end_the_connection() -> None:
    with SimulatorServer(max_sessions=3) as server, talk(server) as client:
        for n in range(4):
            client.send("chart_create_session", f"cs_{n}", "")
        assert client.until("protocol_error")[-1]["p"] == ["max sessions rate reached"]


def test_a_closed_connection_is_forgotten(server: SimulatorServer) -> None:
    with talk(server) as client:
        client.message()
        assert server.connections == 1
    with talk(server) as client:
        client.message()
        assert server.connections == 1


def test_two_servers_with_one_seed_tell_the_same(clock: StandingClock) -> None:
    answers = []
    for _ in range(2):
        with SimulatorServer(seed=7, clock=clock) as server, talk(server) as client:
            chart(client, "FX:EURUSD", "15", 500)
            client.until("series_completed")
            answers.append(client.batches)
    assert answers[0] == answers[1]


def test_a_client_that_does_not_read_is_cut_off() -> None:
    with (
        SimulatorServer(anonymous_page=20_000, max_pending_chars=3_000_000) as server,
        talk(server) as client,
        pytest.raises(ConnectionClosed),
    ):
        chart(client, "BINANCE:BTCUSDT", "1", 20_000)
        while True:  # the client's library stops reading after a few messages that nobody takes
            client.send("modify_series", "cs_1", "sds_1", "s2", "sym_1", "5", "")
            client.send("modify_series", "cs_1", "sds_1", "s3", "sym_1", "1", "ALL")
