import json
import socket as sockets
import time
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from infrastructure.intervals import INTERVALS
from infrastructure.simulator import MODES, PAID_TOKEN, SimulatorServer, StandingClock
from tests.simulator.conftest import FRIDAY_MS
from tests.simulator.talk import ORIGIN, Message, Talk, bars_of, chart, frames, talk


@pytest.fixture
def beating(clock: StandingClock) -> Any:
    with SimulatorServer(clock=clock, heartbeat_s=0.05) as server:
        yield server


def loaded(client: Talk, symbol: str = "TEST:TICK", count: int = 10, frame: str = "") -> list[Message]:
    chart(client, symbol, "1", count, frame)
    return client.until("series_completed")


def test_silence_is_total(beating: SimulatorServer, clock: StandingClock) -> None:
    with talk(beating) as client:
        loaded(client)
        beating.faults.set("silence")
        clock.at_ms += 5000
        with pytest.raises(TimeoutError):
            while True:
                client.socket.recv(timeout=0.5)


def test_heartbeats_go_on_without_data(beating: SimulatorServer, clock: StandingClock) -> None:
    with talk(beating) as client:
        loaded(client)
        beating.faults.set("heartbeats_only")
        seen = len(client.batches)
        client.send("request_more_data", "cs_1", "sds_1", 5)
        clock.at_ms += 5000
        while len(client.heartbeats) < 8:
            client.batch()
        assert {payload[:3] for batch in client.batches[seen:] for payload in batch} == {"~h~"}
        beating.faults.clear()
        client.send("request_more_data", "cs_1", "sds_1", 5)
        client.until("series_completed")


def test_a_fault_of_one_symbol_leaves_the_others_alone(server: SimulatorServer) -> None:
    server.faults.set("heartbeats_only", symbol="TEST:TICK")
    with talk(server) as client:
        chart(client, "TEST:TICK", "1", 5, session="cs_1")
        chart(client, "TEST:RARE", "1", 5, session="cs_2")
        assert {message["p"][0] for message in client.until("series_completed")[1:]} == {"cs_2"}


def test_a_fault_of_one_connection_leaves_the_others_alone(server: SimulatorServer) -> None:
    with talk(server) as first, talk(server) as second:
        first.message(), second.message()
        server.faults.set("close", connection=1)
        with pytest.raises(ConnectionClosed) as closed:
            first.batch()
        assert closed.value.rcvd is None  # no close frame: 1006
        loaded(second)


def test_a_reset_is_a_reset(server: SimulatorServer) -> None:
    with talk(server) as client:
        client.message()
        raw = sockets.fromfd(client.socket.socket.fileno(), sockets.AF_INET, sockets.SOCK_STREAM)
        server.faults.set("reset")
        with pytest.raises(ConnectionClosed) as closed:
            client.batch()
        raw.close()
    assert isinstance(closed.value.__cause__, ConnectionResetError)


def test_a_batch_may_break_off_in_the_middle(server: SimulatorServer) -> None:
    server.faults.set("close_mid_batch", times=1)
    with talk(server) as client, pytest.raises(ConnectionClosed):
        loaded(client)
    assert [json.loads(payload)["m"] for payload in client.batches[1]] == ["series_loading", "symbol_resolved"]


def test_the_handshake_is_refused_for_a_while(server: SimulatorServer) -> None:
    server.faults.set("handshake_429", times=1, value=3)
    server.faults.set("handshake_403", times=1)
    refusals = []
    for _ in range(2):
        with pytest.raises(InvalidStatus) as refusal:
            connect(server.websocket_url, origin=ORIGIN, proxy=None)  # type: ignore[arg-type]
        refusals.append((refusal.value.response.status_code, refusal.value.response.headers.get("Retry-After")))
    assert refusals == [(429, "3"), (403, None)]
    with talk(server) as client:
        client.message()


def test_one_frame_is_spoilt_and_the_next_is_whole(server: SimulatorServer) -> None:
    for mode in ("malformed_json", "wrong_length"):
        with talk(server) as client:
            loaded(client)
            server.faults.set(mode, times=1)
            client.send("request_more_data", "cs_1", "sds_1", 5)
            text = str(client.socket.recv(timeout=20))
            with pytest.raises((ValueError, AssertionError)):
                [json.loads(payload) for payload in frames(text)]
            client.send("request_more_data", "cs_1", "sds_1", 5)
            client.until("series_completed")


def test_answers_are_spoilt_as_asked(server: SimulatorServer) -> None:
    faults, market, minute = server.faults, server.market, INTERVALS["1m"]

    def older(client: Talk) -> list[Message]:
        client.send("request_more_data", "cs_1", "sds_1", 5)
        return client.until("series_completed")

    with talk(server) as client:
        held = bars_of(loaded(client)[-2])
        faults.set("overlap", times=1)
        overlapping = bars_of(older(client)[-2])
        assert overlapping[:5].same_as(market.last("TEST:TICK", minute, 5, int(held.time_ms[0])))
        assert overlapping[5:].same_as(held[:3])
        faults.set("out_of_order", times=1)
        times = bars_of(older(client)[-2]).time_ms.tolist()
        assert times == sorted(times, reverse=True) and len(times) == 5
        faults.set("completed_without_data", times=1)
        assert [message["m"] for message in older(client)] == ["series_loading", "series_completed"]
        faults.set("duplicate_completed", times=1)
        older(client)
        assert client.message()["m"] == "series_completed"
    faults.set("outside_range", times=1, value=4)
    start_s = FRIDAY_MS // 60_000 * 60 - 3600
    with talk(server) as client:
        spoilt = bars_of(
            next(m for m in loaded(client, frame=f"r,{start_s}:{start_s + 600}") if "timescale" in m.get("m", ""))
        )
    assert spoilt.time_ms[0] == (start_s - 5 * 60) * 1000


def test_heartbeats_share_a_message_with_data(server: SimulatorServer) -> None:
    for mode, place in (("heartbeat_with_data", 0), ("heartbeat_between", 1)):
        server.faults.set(mode)
        with talk(server) as client:
            loaded(client)
        server.faults.clear()
        assert client.batches[-1][place] == "~h~7"
        assert len(client.batches[-1]) == 5


def test_one_session_fails_while_another_goes_on(server: SimulatorServer) -> None:
    with talk(server) as client:
        loaded(client)
        chart(client, "TEST:RARE", "1", 5, session="cs_2")
        client.until("series_completed")
        server.faults.set("critical_error", value="cs_1")
        assert client.until("critical_error")[-1]["p"][0] == "cs_1"
        client.send("request_more_data", "cs_2", "sds_1", 5)
        assert client.until("series_completed")[-1]["p"][0] == "cs_2"


def test_messages_out_of_nowhere(server: SimulatorServer) -> None:
    with talk(server) as client:
        client.message()
        server.faults.set("unknown_message")
        assert client.message()["m"] == "simulated_news"
        server.faults.set("huge_frame")
        assert len(client.message()["p"][0]) == 2 * 2**20
        server.faults.set("protocol_error", value="max sessions rate reached")
        assert client.message() == {"m": "protocol_error", "p": ["max sessions rate reached"]}
        with pytest.raises(ConnectionClosed):
            client.batch()


def test_the_hello_clock_is_off(server: SimulatorServer) -> None:
    server.faults.set("clock_skew", value=-90)
    with talk(server) as client:
        assert client.message()["timestampMs"] == FRIDAY_MS - 90_000


def test_tokens_expire_in_the_middle(server: SimulatorServer, clock: StandingClock) -> None:
    with talk(server, token=PAID_TOKEN) as paid, talk(server) as anonymous:
        loaded(paid), loaded(anonymous)
        server.faults.set("token_expired")
        clock.at_ms += 5000
        assert anonymous.until("du", "timescale_update")
        with pytest.raises(TimeoutError):
            paid.socket.recv(timeout=0.3)


def test_a_slow_drip_is_slow_and_whole(server: SimulatorServer) -> None:
    server.faults.set("slow_drip", value=20_000)
    with talk(server) as client:
        started = time.monotonic()
        bars = bars_of(loaded(client, count=100)[-2])
        assert time.monotonic() - started > 0.3
    assert bars.same_as(server.market.history("TEST:TICK", INTERVALS["1m"], 100, FRIDAY_MS))


def test_faults_are_switched_over_http(server: SimulatorServer) -> None:
    url = f"{server.http_url}/_simulator/faults"

    def call(method: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(url, data=data, method=method), timeout=20) as answer:  # noqa: S310
            return json.load(answer)

    assert call("POST", {"mode": "silence", "symbol": "TEST:TICK"}) == {"error": ""}
    listed = call("GET")
    assert listed["modes"] == MODES
    assert listed["on"] == [
        {"mode": "silence", "symbol": "TEST:TICK", "connection": None, "times": None, "value": None}
    ]
    assert call("DELETE") == {"error": ""}
    assert server.faults.listed() == ()


def test_a_fault_nobody_knows_is_refused(server: SimulatorServer) -> None:
    with pytest.raises(ValueError, match="There is no fault 'rain'"):
        server.faults.set("rain")


def test_setting_a_fault_again_replaces_it(server: SimulatorServer) -> None:
    server.faults.set("clock_skew", value=1)
    server.faults.set("clock_skew", value=2)
    assert [fault.value for fault in server.faults.listed()] == [2]
