"""What comes after the answer: bars that move with each trade, and bars that begin."""

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.simulator import SimulatorServer, StandingClock
from tests.simulator.conftest import FRIDAY_MS
from tests.simulator.talk import answer, bars_of, chart, talk

MINUTE = INTERVALS["1m"]


def test_the_last_bar_moves_with_each_trade_and_the_next_gets_an_index(
    server: SimulatorServer, clock: StandingClock
) -> None:
    minute = FRIDAY_MS - FRIDAY_MS % MINUTE_MS
    with talk(server) as client:
        chart(client, "NASDAQ:AAPL", "1", 300)
        held = bars_of(answer(client)["timescale_update"])
        trades = [ms for ms in server.market.trades("NASDAQ:AAPL", minute).time_ms if ms > FRIDAY_MS]
        for at_ms in trades[:3]:
            clock.at_ms = at_ms
            update = client.until("du")[-1]["p"][1]["sds_1"]
            bar = server.market.forming("NASDAQ:AAPL", MINUTE, at_ms)
            assert bar is not None
            assert update == {
                "s": [{"i": 299, "v": [bar.time_ms / 1000, bar.open, bar.high, bar.low, bar.close, bar.volume]}],
                "ns": {"d": "", "indexes": "nochange"},
                "t": "s1",
                "lbs": {"bar_close_time": minute // 1000 + 60},
            }
        clock.at_ms = server.market.trades("NASDAQ:AAPL", minute + MINUTE_MS).time_ms[2]
        finish, opening = client.until("timescale_update")[-2:]
        clock.at_ms += 40_000
        moved = client.until("du")[-1]["p"][1]["sds_1"]["s"][0]
    assert held.same_as(server.market.history("NASDAQ:AAPL", MINUTE, 300, FRIDAY_MS))
    assert [tuple(row) for row in bars_of(finish).columns] == [
        tuple(row) for row in server.market.bars("NASDAQ:AAPL", MINUTE, minute, minute + 1).columns
    ]
    assert opening["p"][1]["sds_1"]["s"][0]["i"] == 300
    assert opening["p"][2] == {
        "index": 300, "zoffset": 0, "changes": [minute / 1000 + 60],
        "marks": [[20, minute // 1000 + 60 - 5 * 3600, 300]], "index_diff": [],
    }  # fmt: skip
    assert moved["i"] == 300


def test_bars_that_came_and_went_between_two_looks_are_all_sent(server: SimulatorServer, clock: StandingClock) -> None:
    with talk(server) as client:
        chart(client, "BINANCE:BTCUSDT", "1", 3)
        answer(client)
        clock.at_ms += 5 * MINUTE_MS
        got: dict[int, list[float]] = {}
        while max(got, default=0) < 7:
            message = client.message()
            for entry in message["p"][1]["sds_1"]["s"]:
                got[entry["i"]] = entry["v"]
    seen = server.market.history("BINANCE:BTCUSDT", MINUTE, 6, clock.at_ms)
    assert list(got) == [2, 3, 4, 5, 6, 7]
    assert Bars.from_rows([(row[0] * 1000, *row[1:]) for row in got.values()]).same_as(seen)


def test_a_deleted_session_is_silent(server: SimulatorServer, clock: StandingClock) -> None:
    with talk(server) as client:
        chart(client, "TEST:TICK", "1", 3)
        answer(client)
        client.send("chart_delete_session", "cs_1")
        chart(client, "TEST:RARE", "1D", 3, session="cs_2")
        answer(client)
        clock.at_ms += 10_000
        client.send("request_more_data", "cs_2", "sds_1", 3)
        sessions = {message["p"][0] for message in client.until("series_completed")}
    assert sessions == {"cs_2"}
