import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infrastructure.intervals import MINUTE_MS
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.simulator.quote_fields import moving
from tests.simulator.conftest import FRIDAY_MS
from tests.simulator.talk import Message, Talk, frames, talk


def subscribed(client: Talk, *names: str, fields: tuple[str, ...] = ()) -> list[Message]:
    """Everything up to the last name's quote_completed."""
    client.message()
    client.send("quote_create_session", "qs_1")
    if fields:
        client.send("quote_set_fields", "qs_1", *fields)
    client.send("quote_add_symbols", "qs_1", *names)
    messages = client.until("quote_completed")
    while messages[-1]["p"][1] != names[-1]:
        messages += client.until("quote_completed")
    return messages


def values(server: SimulatorServer, name: str, now_ms: int) -> dict[str, Any]:
    fields = moving(server.market.quote(name, now_ms))
    return {key: value for key, value in fields.items() if isinstance(value, int | float | str)}


def test_the_first_quote_has_every_recorded_field_and_type(server: SimulatorServer, captures: Path) -> None:
    text = (captures / "13-quotes-index-crypto-stock.txt").read_text().strip()
    recorded = [json.loads(payload)["p"][1] for payload in frames(text) if '"qsd"' in payload]
    with talk(server) as client:
        for quote in recorded:
            if quote["n"] == "NASDAQ:TSLA":
                continue
            name, wanted = quote["n"], tuple(quote["v"])
            client.send("quote_create_session", f"qs_{name}")
            client.send("quote_set_fields", f"qs_{name}", *wanted)
            client.send("quote_add_symbols", f"qs_{name}", name)
            ours = client.until("qsd")[-1]["p"][1]
            assert client.message() == {"m": "quote_completed", "p": [f"qs_{name}", name]}
            assert (ours["n"], ours["s"], list(ours["v"])) == (name, "ok", sorted(wanted, reverse=True))
            numbers = (int, float)
            for field, real in quote["v"].items():
                kind = numbers if isinstance(real, numbers) and not isinstance(real, bool) else type(real)
                assert isinstance(ours["v"][field], kind), field
            for field in (
                "update_mode",
                "type",
                "typespecs",
                "original_name",
                "pricescale",
                "exchange",
                "currency_code",
            ):
                if name != "NASDAQ:AAPL" or field != "pricescale":
                    assert ours["v"][field] == quote["v"][field], (name, field)


def test_an_index_without_volume_has_the_sentinel_as_it_is_printed(server: SimulatorServer) -> None:
    with talk(server) as client:
        subscribed(client, "NASDAQ:NDX", fields=("volume", "lp"))
    assert '"volume":1e+100,' in client.batches[-1][0]


def test_changes_add_up_to_the_models_quote(server: SimulatorServer, clock: StandingClock) -> None:
    with talk(server) as client:
        state: dict[str, Any] = {}
        for message in subscribed(client, "TEST:TICK"):
            if message["m"] == "qsd":
                state |= message["p"][1]["v"]
        for _ in range(20):
            clock.at_ms = server.market.next_change_ms("TEST:TICK", clock.at_ms)
            change = client.until("qsd")[-1]["p"][1]["v"]
            assert all(state[name] != value for name, value in change.items())
            state |= change
            assert {name: state[name] for name in values(server, "TEST:TICK", clock.at_ms)} == values(
                server, "TEST:TICK", clock.at_ms
            )


def test_only_the_chosen_fields_are_sent(server: SimulatorServer, clock: StandingClock) -> None:
    with talk(server) as client:
        first = subscribed(client, "TEST:TICK", fields=("lp", "description"))[0]
        assert first["p"][1]["v"].keys() == {"lp", "description"}
        changed = set()
        for _ in range(5):
            before = server.market.quote("TEST:TICK", clock.at_ms).last
            while server.market.quote("TEST:TICK", clock.at_ms).last == before:
                clock.at_ms = server.market.next_change_ms("TEST:TICK", clock.at_ms)
            changed |= client.until("qsd")[-1]["p"][1]["v"].keys()
    assert changed == {"lp"}


def test_each_name_is_echoed_exactly_and_has_messages_of_its_own(server: SimulatorServer, clock: StandingClock) -> None:
    spec = '={"symbol":"TEST:TICK","currency-id":"USD","adjustment":"splits"}'
    with talk(server) as client:
        messages = subscribed(client, "TEST:TICK", spec)
        clock.at_ms += 1000
        moved = [client.until("qsd")[-1]["p"][1]["n"] for _ in range(2)]
    names = [m["p"][1]["n"] if m["m"] == "qsd" else m["p"][1] for m in messages]
    assert names == ["TEST:TICK", "TEST:TICK", spec, spec]
    assert sorted(moved) == sorted(["TEST:TICK", spec])


def test_unknown_and_forbidden_symbols_are_answered_as_recorded(server: SimulatorServer, captures: Path) -> None:
    text = (captures / "12-aapl-anonymous-2024-with-qsd-error.txt").read_text()
    line = next(line for line in text.splitlines() if '"errmsg"' in line)
    recorded = json.loads(frames(line)[0])["p"][1]
    with talk(server) as client:
        unknown, _, forbidden, _ = subscribed(client, recorded["n"], "TEST:DENIED")
    assert unknown["p"][1] == recorded
    assert forbidden["p"][1] == {
        "n": "TEST:DENIED", "s": "permission_denied", "errmsg": "Permission denied",
        "v": {"alternative": "", "group": "simulated_paid_data"},
    }  # fmt: skip


def test_flags_are_accepted_or_refused_by_option(clock: StandingClock) -> None:
    for refuse, method in ((False, "quote_completed"), (True, "critical_error")):
        with SimulatorServer(clock=clock, refuse_flags=refuse) as server, talk(server) as client:
            client.send("quote_create_session", "qs_1")
            client.send("quote_add_symbols", "qs_1", "NASDAQ:AAPL", {"flags": ["force_permission"]})
            assert client.until("quote_completed", "critical_error")[-1]["m"] == method


def test_removed_and_sleeping_names_are_silent(server: SimulatorServer, clock: StandingClock) -> None:
    with talk(server) as client:
        subscribed(client, "TEST:TICK", "BINANCE:BTCUSDT", "BINANCE:ETHUSDT")
        client.send("quote_remove_symbols", "qs_1", "BINANCE:BTCUSDT")
        client.send("quote_hibernate_all", "qs_1")
        client.send("quote_fast_symbols", "qs_1", "BINANCE:ETHUSDT")
        client.send("quote_add_symbols", "qs_1", "NOPE:X")  # answered after all of that
        client.until("quote_completed")
        names = []
        for _ in range(3):
            clock.at_ms += 2000
            names.append(client.until("qsd")[-1]["p"][1]["n"])
    assert names == ["BINANCE:ETHUSDT"] * 3


def test_the_session_changes_when_the_market_closes(server: SimulatorServer, clock: StandingClock) -> None:
    clock.at_ms = int(datetime(2026, 11, 20, 20, 59, 59, 900_000, tzinfo=UTC).timestamp() * 1000)
    with talk(server) as client:
        first = subscribed(client, "NASDAQ:AAPL", fields=("current_session",))[0]["p"][1]["v"]
        clock.at_ms += MINUTE_MS
        evening = client.until("qsd")[-1]["p"][1]["v"]
        clock.at_ms += 4 * 60 * MINUTE_MS
        night = client.until("qsd")[-1]["p"][1]["v"]
    assert [fields["current_session"] for fields in (first, evening, night)] == [
        "market", "post_market", "out_of_session",
    ]  # fmt: skip


def test_a_delayed_symbol_says_so_and_lags(server: SimulatorServer) -> None:
    with talk(server) as client:
        fields = subscribed(client, "LSE:VOD", fields=("lp_time", "update_mode", "currency_code", "original_name"))
    quote = fields[0]["p"][1]["v"]
    assert quote.pop("lp_time") <= FRIDAY_MS // 1000 - 900
    assert quote == {
        "update_mode": "delayed_streaming_900", "currency_code": "GBX", "original_name": "LSE_DLY:VOD",
    }  # fmt: skip
