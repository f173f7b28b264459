"""What a chart session refuses, and how many series it holds."""

import json
from pathlib import Path

import pytest

from infrastructure.simulator import PAID_TOKEN, SimulatorServer
from tests.simulator.talk import Message, Talk, answer, chart, frames, talk


def errors(client: Talk) -> list[Message]:
    return client.until("series_error", "critical_error")[1:]


def test_an_unknown_symbol_ends_as_recorded(server: SimulatorServer, captures: Path) -> None:
    recorded = json.loads((captures / "10-symbol-error-then-series-error.json").read_text())
    with talk(server) as client:
        chart(client, "NASDAQ:NOSUCH", "1D", 5, session="cs_urdpo2")
        messages = errors(client)
    theirs = [json.loads(payload) for payload in frames(recorded[1])]
    assert [(m["m"], m["p"][:4]) for m in messages] == [(m["m"], m["p"][:4]) for m in theirs]
    assert len(client.batches[-1]) == 3


@pytest.mark.parametrize(
    ("symbol", "resolution", "reason"),
    [
        ("TEST:DENIED", "1D", "resolve error"),
        ("NASDAQ:AAPL", "1S", "seconds_not_entitled"),
        ("NASDAQ:AAPL", "10T", "ticks_not_entitled"),
        ("NASDAQ:AAPL", "188", "custom_resolution"),
        ("TEST:DAILY", "5", "unsupported resolution: TEST:DAILY, 5"),
    ],
)
def test_a_series_that_cannot_be_says_why(server: SimulatorServer, symbol: str, resolution: str, reason: str) -> None:
    with talk(server) as client:
        chart(client, symbol, resolution, 5)
        last = errors(client)[-1]
    assert (last["m"], last["p"][:4]) == ("series_error", ["cs_1", "sds_1", "s1", reason])


def test_a_permission_names_its_group(server: SimulatorServer) -> None:
    with talk(server) as client:
        chart(client, "TEST:DENIED", "1D", 5)
        message = next(m for m in errors(client) if m["m"] == "symbol_error")
    assert message["p"] == ["cs_1", "sym_1", "permission denied", "group", "simulated_paid_data"]


def test_a_second_series_ends_an_anonymous_session_and_no_other(server: SimulatorServer) -> None:
    with talk(server) as client:
        chart(client, "TEST:TICK", "1", 5)
        answer(client)
        chart(client, "TEST:TICK", "1", 5, session="cs_2")
        client.until("series_completed")
        client.send("create_series", "cs_1", "sds_2", "s1", "sym_1", "5", 5, "")
        error = client.until("critical_error")[-1]
        client.send("request_more_data", "cs_2", "sds_1", 5)
        more = client.until("series_completed")[-1]
    assert error["p"][:2] == ["cs_1", "exceed limit of series in the session"]
    assert error["p"][2].startswith("method: create_series. args: ")
    assert more["p"][0] == "cs_2"


def test_a_paid_session_holds_several_series(server: SimulatorServer) -> None:
    with talk(server, token=PAID_TOKEN) as client:
        chart(client, "NASDAQ:AAPL", "1", 5)
        resolved = answer(client)["symbol_resolved"]["p"][2]
        client.send("create_series", "cs_1", "sds_2", "s1", "sym_1", "188", 5, "")
        completed = answer(client)["series_completed"]["p"]
    assert (resolved["full_name"], resolved["exchange"]) == ("NASDAQ:AAPL", "NASDAQ")
    assert completed[:4] == ["cs_1", "sds_2", "streaming", "s1"]


def test_a_removed_series_makes_room_for_another(server: SimulatorServer) -> None:
    with talk(server) as client:
        chart(client, "TEST:TICK", "1", 5)
        answer(client)
        client.send("remove_series", "cs_1", "sds_1")
        client.send("create_series", "cs_1", "sds_2", "s2", "sym_1", "5", 5, "")
        completed = answer(client)["series_completed"]["p"]
    assert completed[:4] == ["cs_1", "sds_2", "streaming", "s2"]


def test_arguments_that_do_not_fit_end_the_session(server: SimulatorServer) -> None:
    with talk(server) as client:
        client.send("chart_create_session", "cs_1", "")
        client.send("create_series", "cs_1", "sds_1", "s1", "sym_unknown", "1", 5, "")
        error = client.until("critical_error")[-1]
    assert error["p"][:2] == ["cs_1", "invalid_parameters"]
