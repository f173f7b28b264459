"""What a chart session answers: the order and shape of the recorded answers, the bars of the market."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infrastructure.bars import Bars
from infrastructure.intervals import DAY_MS, INTERVALS
from infrastructure.simulator import PAID_TOKEN, SimulatorServer, StandingClock, wire
from tests.simulator.conftest import FRIDAY_MS
from tests.simulator.talk import answer, bars_of, chart, frames, talk

MINUTE, HOUR, DAY = INTERVALS["1m"], INTERVALS["1h"], INTERVALS["1d"]


def shape(value: Any) -> Any:
    """Keys and types, without the values; of a list the shape of its first item."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def test_an_answer_has_the_order_and_shape_of_the_recorded_one(server: SimulatorServer, captures: Path) -> None:
    recorded = json.loads((captures / "09-aapl-1D-five-bars-anonymous.json").read_text())
    with talk(server) as client:
        chart(client, "NASDAQ:AAPL", "1D", 5, session="cs_m4euhx")
        client.until("series_completed")
    ours = [json.loads(payload) for payload in client.batches[1]]
    theirs = [json.loads(payload) for payload in frames(recorded[1])]
    assert [len(batch) for batch in client.batches] == [1, 4]
    assert shape(json.loads(client.batches[0][0])) == shape(json.loads(frames(recorded[0])[0]))
    assert [message["m"] for message in ours] == [message["m"] for message in theirs]
    for mine, real in zip(ours, theirs, strict=True):
        if mine["m"] != "symbol_resolved":
            assert shape(mine) == shape(real)
    mine, real = ours[1]["p"][2], theirs[1]["p"][2]
    assert mine.keys() <= real.keys()
    assert {name: shape(mine[name]) for name in mine if name != "aliases"} == {
        name: shape(real[name]) for name in mine if name != "aliases"
    }


def test_the_bars_are_those_of_the_model(server: SimulatorServer) -> None:
    for name, resolution, interval in (
        ("BINANCE:BTCUSDT", "1", MINUTE), ("NASDAQ:AAPL", "60", HOUR), ("TVC:RUT", "1", MINUTE), ("LSE:VOD", "1D", DAY),
        ("CME_MINI:ES1!", "1W", INTERVALS["1w"]), ("NSE:RELIANCE", "1H", HOUR), ("FX:EURUSD", "D", DAY),
    ):  # fmt: skip
        with talk(server) as client:
            chart(client, name, resolution, 300)
            update = answer(client)["timescale_update"]
        expected = server.market.history(name, interval, 300, FRIDAY_MS)
        assert bars_of(update).same_as(expected)
        assert [entry["i"] for entry in update["p"][1]["sds_1"]["s"]] == list(range(300))
        assert update["p"][2]["changes"] == (expected.time_ms / 1000).tolist()
        assert {len(entry["v"]) for entry in update["p"][1]["sds_1"]["s"]} == {5 if name == "TVC:RUT" else 6}


def test_timescale_marks_are_the_recorded_ones(server: SimulatorServer, captures: Path) -> None:
    for file, name in (
        ("15-spx-1D-timescale-series-timeframe-completed.txt", "SP:SPX"),
        ("09-aapl-1D-five-bars-anonymous.json", "NASDAQ:AAPL"),
    ):
        text = (captures / file).read_text()
        messages = "".join(json.loads(text)) if file.endswith(".json") else text.strip()
        update = next(m for m in map(json.loads, frames(messages)) if m.get("m") == "timescale_update")
        times = np.array(update["p"][2]["changes"], np.int64) * 1000
        ours = json.loads(wire.text(wire.timescale(server.market.symbol(name), DAY, times, 0, 0)))
        theirs = update["p"][2]["marks"]
        assert [mark[1:] for mark in ours["marks"]] == [mark[1:] for mark in theirs]
        # Weights of the first mark, and of a Tuesday after a Monday's holiday, follow no rule in the recordings.
        clear = [at for at, mark in enumerate(theirs) if at and mark[1] // 86_400 % 7 != 5]
        assert [ours["marks"][at] for at in clear] == [theirs[at] for at in clear]
        assert len(clear) >= 3


@pytest.mark.parametrize(
    ("name", "interval", "open_s", "close_s"),
    [
        ("NASDAQ:AAPL", DAY, 1787232600, 1787255999),
        ("BINANCE:BTCUSDT", DAY, 1786147200, 1786233600),
        ("NASDAQ:NDX", MINUTE, 1686340740, 1686340740 + 60 - 1 + 900),  # a session's last minute, 15 minutes late
        ("NASDAQ:AAPL", MINUTE, 1787232600, 1787232660),
    ],
)
def test_close_times_follow_the_recorded_rules(
    server: SimulatorServer, name: str, interval: Any, open_s: int, close_s: int
) -> None:
    assert wire.close_time(server.market.symbol(name), open_s * 1000, interval) == close_s


def test_a_symbol_without_a_series_is_resolved_alone(server: SimulatorServer) -> None:
    with talk(server) as client:
        client.send("chart_create_session", "cs_1")
        client.send("resolve_symbol", "cs_1", "sym_1", "NASDAQ:META")
        client.send("resolve_symbol", "cs_1", "sym_2", '={"symbol":{"symbol":"NASDAQ:FB"},"type":"BarSetRenko"}')
        new, old = client.until("symbol_resolved")[-1]["p"], client.until("symbol_resolved")[-1]["p"]
    assert (new[1], old[1]) == ("sym_1", "sym_2")
    assert new[2] == old[2]
    assert (new[2]["pro_name"], new[2]["full_name"], new[2]["aliases"]) == ("NASDAQ:META", "BATS:META", ["NASDAQ:FB"])


def test_names_beyond_the_basic_plane_are_counted_in_utf16_units(server: SimulatorServer) -> None:
    with talk(server) as client:
        client.message()
        client.send("chart_create_session", "cs_1", "")
        client.send("resolve_symbol", "cs_1", "sym_1", "TEST:UTF16")
        text = client.socket.recv(timeout=20)
    assert isinstance(text, str)
    _, length, payload = text.split("~m~", 2)
    assert json.loads(payload)["p"][2]["local_description"] == "𠮷野家 🍚"
    assert int(length) == len(payload) + 2


def test_older_bars_come_page_by_page_until_the_first_one(server: SimulatorServer) -> None:
    with talk(server) as client:
        chart(client, "NASDAQ:NEWCO", "1", 300)
        first = answer(client)
        pages = [bars_of(first["timescale_update"])]
        indexes = []
        while True:
            client.send("request_more_data", "cs_1", "sds_1", 3000)
            page = answer(client)
            if "timescale_update" not in page:
                break
            entries = page["timescale_update"]["p"][1]["sds_1"]["s"]
            indexes.append((entries[0]["i"], entries[-1]["i"], page["timescale_update"]["p"][2]["zoffset"]))
            pages.append(bars_of(page["timescale_update"]))
        last = page["series_completed"]["p"][4]
    whole = Bars.concat(pages[::-1])
    assert whole.same_as(server.market.history("NASDAQ:NEWCO", MINUTE, 10**6, FRIDAY_MS))
    assert "data_completed" not in first["series_completed"]["p"][4]
    assert last["data_completed"] == "end"
    assert indexes[:2] == [(-3000, -1, 3000), (-6000, -3001, 6000)]
    assert whole.time_ms[0] == server.market.first_ms("NASDAQ:NEWCO", MINUTE)


def test_anonymous_depth_ends_in_a_limit_and_pages_are_capped(clock: StandingClock) -> None:
    with SimulatorServer(clock=clock, anonymous_page=1000, anonymous_depth=2500) as server:
        with talk(server) as client:
            chart(client, "BINANCE:BTCUSDT", "1", 20_000)
            sizes, reasons = [], []
            page = answer(client)
            while "timescale_update" in page:
                sizes.append(len(bars_of(page["timescale_update"])))
                reasons.append(page["series_completed"]["p"][4].get("data_completed"))
                client.send("request_more_data", "cs_1", "sds_1", 20_000)
                page = answer(client)
        with talk(server) as client:
            chart(client, "BINANCE:BTCUSDT", "1D", 20_000)
            daily = answer(client)
        with talk(server, token=PAID_TOKEN) as client:
            chart(client, "BINANCE:BTCUSDT", "1", 20_000)
            paid = answer(client)
    assert (sizes, reasons) == ([1000, 1000, 500], [None, None, "limit"])
    assert page["series_completed"]["p"][4]["data_completed"] == "limit"
    assert daily["series_completed"]["p"][4]["data_completed"] == "end"
    assert len(bars_of(daily["timescale_update"])) == len(
        server.market.history("BINANCE:BTCUSDT", DAY, 10**6, FRIDAY_MS)
    )
    assert len(bars_of(paid["timescale_update"])) == 20_000


def test_a_range_in_seconds_brings_its_bars_and_a_neighbour_on_each_side(server: SimulatorServer) -> None:
    start_ms, end_ms = FRIDAY_MS - 3 * DAY_MS, FRIDAY_MS - 2 * DAY_MS
    with talk(server) as client:
        chart(client, "BINANCE:ETHUSDT", "60", 10, f"r,{start_ms // 1000}:{end_ms // 1000}")
        messages = client.until("series_completed")
    update = next(message for message in messages if message.get("m") == "timescale_update")
    inside = server.market.bars("BINANCE:ETHUSDT", HOUR, start_ms, end_ms)
    got = bars_of(update)
    assert got[1:-1].same_as(inside)
    assert [message["p"][3:] for message in messages if message.get("m") == "series_timeframe"] == [
        [0, len(got) - 1, f"r,{start_ms // 1000}:{end_ms // 1000}", False],
        [1, len(got) - 1, f"r,{start_ms // 1000}:{end_ms // 1000}", True],
    ]


def test_a_named_frame_loads_what_it_means_in_the_recorded_order(server: SimulatorServer) -> None:
    with talk(server) as client:
        chart(client, "SP:SPX", "1D", 368, "12M")
        messages = client.until("series_completed")
    assert [message["m"] for message in messages[1:]] == [
        "series_loading", "symbol_resolved", "series_timeframe", "timescale_update", "series_timeframe",
        "series_completed",
    ]  # fmt: skip
    year = server.market.seen("SP:SPX", DAY, FRIDAY_MS - 365 * DAY_MS, FRIDAY_MS, FRIDAY_MS)
    assert messages[3]["p"][3:] == [0, 367, "12M", False]
    assert messages[5]["p"][3:] == [368 - len(year), 367, "12M", True]


@pytest.mark.parametrize(
    ("count", "frame", "expected"),
    [
        (7, None, 7),
        (7, "", 7),
        (["bar_count", FRIDAY_MS // 1000 - 86_400, 9], "", 9),
        ("r,1790000000000:1790086400000", None, 300),  # milliseconds in place of the count: not understood
        (12, "r,1790000000000:1790086400000", 12),
    ],
)
def test_counts_come_in_every_form_clients_send(
    server: SimulatorServer, count: Any, frame: str | None, expected: int
) -> None:
    with talk(server) as client:
        client.send("chart_create_session", "cs_1", "")
        client.send("resolve_symbol", "cs_1", "sym_1", "NASDAQ:MSFT")
        client.send("create_series", "cs_1", "sds_1", "s1", "sym_1", "5", count, *([] if frame is None else [frame]))
        bars = bars_of(answer(client)["timescale_update"])
    before_ms = FRIDAY_MS - DAY_MS + 1000 if isinstance(count, list) else FRIDAY_MS + 1
    if isinstance(count, list):
        assert bars.same_as(server.market.last("NASDAQ:MSFT", INTERVALS["5m"], 9, before_ms))
    else:
        assert bars.same_as(server.market.history("NASDAQ:MSFT", INTERVALS["5m"], expected, FRIDAY_MS))


def test_modifying_a_series_sends_only_what_is_not_loaded(server: SimulatorServer) -> None:
    inside = f"r,{(FRIDAY_MS - 3600_000) // 1000}:{FRIDAY_MS // 1000}"
    with talk(server) as client:
        chart(client, "BINANCE:SOLUSDT", "1", 300)
        answer(client)
        client.send("modify_series", "cs_1", "sds_1", "s2", "sym_1", "1", inside)
        known = client.until("series_completed")
        client.send("modify_series", "cs_1", "sds_1", "s3", "sym_1", "60", "")
        hourly = answer(client)
    assert [message["m"] for message in known] == [
        "series_loading", "series_timeframe", "series_timeframe", "series_completed",
    ]  # fmt: skip
    assert known[-1]["p"][3] == "s2"
    assert bars_of(hourly["timescale_update"]).same_as(server.market.history("BINANCE:SOLUSDT", HOUR, 300, FRIDAY_MS))
    assert hourly["timescale_update"]["p"][1]["sds_1"]["t"] == "s3"


def test_the_first_bar_and_the_next_times_can_be_asked(server: SimulatorServer) -> None:
    with talk(server) as client:
        chart(client, "NASDAQ:AAPL", "60", 5)
        answer(client)
        client.send("get_first_bar_time", "cs_1", "sym_1", "1D")
        first = client.until("first_bar_time")[-1]["p"]
        client.send("request_more_tickmarks", "cs_1", "sds_1", 3)
        scale = client.until("timescale_update")[-1]["p"]
    assert first == ["cs_1", "sym_1", server.market.first_ms("NASDAQ:AAPL", DAY) // 1000]
    hours = server.market.symbol("NASDAQ:AAPL").hours
    opens = hours.opens(FRIDAY_MS, FRIDAY_MS + DAY_MS, HOUR)[:3]
    assert (scale[1], scale[2]["index"], scale[2]["changes"]) == ({}, 5, (opens / 1000).tolist())
