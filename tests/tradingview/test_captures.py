"""Recorded payloads of charts, each decoded and compared with what it says as a whole."""

import json
from pathlib import Path
from typing import Any

import pytest

from infrastructure.bars import Bars
from infrastructure.tradingview import frames, messages
from infrastructure.tradingview.base import SymbolInfo
from infrastructure.tradingview.messages import (
    Hello,
    SeriesCompleted,
    SeriesData,
    SeriesError,
    SeriesLoading,
    SymbolError,
    Unknown,
)
from tests.tradingview import recorded
from tests.tradingview.meanings import meaning, read, rows, texts_of

AAPL_DAYS = [
    (1786714200000, 306.0, 307.49, 304.3, 305.93, 28229375.0),
    (1786973400000, 306.21, 307.66, 302.939, 305.59, 38169263.0),
    (1787059800000, 307.58, 311.49, 305.74, 310.03, 53424535.0),
    (1787146200000, 310.14, 319.2799, 309.6, 316.83, 50505646.0),
    (1787232600000, 317.455, 320.28, 310.65, 311.3, 40959184.0),
]
BTCUSDT_DAYS = [
    (1785715200000, 63570.01, 64080.0, 62300.0, 63520.0, 15543.29743),
    (1785801600000, 63520.0, 64549.16, 63322.01, 64106.56, 13690.47909),
    (1785888000000, 64106.55, 65025.22, 63880.0, 64665.23, 12742.85528),
    (1785974400000, 64665.24, 64999.0, 64172.0, 64323.61, 9864.43284),
    (1786060800000, 64323.61, 65390.99, 64166.0, 64923.19, 11807.40403),
    (1786147200000, 64923.2, 65074.18, 64784.19, 65004.55, 3156.22898),
]
AAPL_2026 = SymbolInfo(
    symbol="NASDAQ:AAPL",
    full_name="BATS:AAPL",
    pro_name="NASDAQ:AAPL",
    exchange="Cboe One",
    listed_exchange="NASDAQ",
    description="Apple Inc.",
    type="stock",
    currency="USD",
    timezone="America/New_York",
    session="0930-1600",
    holidays=recorded.HOLIDAYS,
    corrections="0930-1300:20190703,20191129,20191224,20211126,20221125,20230703,20231124,20240703,20241129,20241224,"
    "20250703,20251128,20251224,20261127,20261224,20271126,20271223;dayoff:20250109",
    price_scale=100,
    min_move=1,
    fractional=False,
    has_intraday=True,
    has_volume=True,
    aliases=(),
    update_mode="streaming",
)


def aapl_answer(session: str) -> list[Any]:
    return [
        SeriesLoading(session, "sds_1", "s1"),
        (session, "sym_1", AAPL_2026),
        (session, {"sds_1": ("s1", rows(*AAPL_DAYS), 1787256000000)}),
        SeriesCompleted(session, "sds_1", "streaming", "s1"),
    ]


HELLO_2026 = Hello("0.242047363.0_tyo1-charts-free-3-tvbs-yarfh-7")


def test_a_history_arrives_in_one_message_behind_the_hello(captures: Path) -> None:
    texts = texts_of(captures / "09-aapl-1D-five-bars-anonymous.json")
    assert len(texts) == 2
    assert read(*texts) == [HELLO_2026, *aapl_answer("cs_m4euhx")]


def test_the_hello_tells_the_servers_clock(captures: Path) -> None:
    hello, _ = texts_of(captures / "09-aapl-1D-five-bars-anonymous.json")
    assert messages.decode(frames.decode(hello)[0]).t_ms == 1787292487138


def test_a_heartbeat_may_stand_in_front_of_data(captures: Path) -> None:
    texts = texts_of(captures / "11-heartbeat-batched-ahead-of-data.json")
    assert read(*texts) == [HELLO_2026, "~h~7", *aapl_answer("cs_m4euhx")]


def test_an_unknown_symbol_has_two_errors_and_no_completion(captures: Path) -> None:
    assert read(*texts_of(captures / "10-symbol-error-then-series-error.json")) == [
        Hello("0.243075849.0_tyo1-charts-free-3-tvbs-yarfh-2"),
        SeriesLoading("cs_urdpo2", "sds_1", "s1"),
        SymbolError("cs_urdpo2", "sym_1", "invalid symbol"),
        SeriesError("cs_urdpo2", "sds_1", "s1", "resolve error"),
    ]


def test_indices_with_older_names_and_without_volume(captures: Path) -> None:
    spx, rut = frames.decode((captures / "14-symbol-resolved-indices.txt").read_text())
    assert (
        messages.decode(spx).p.facts.info("SP:SPX")
        == SymbolInfo(  # type: ignore[union-attr]
            symbol="SP:SPX",
            full_name="SP:SPX",
            pro_name="SP:SPX",
            exchange="SP",
            listed_exchange="SP",
            description="S&P 500",
            type="index",
            currency="USD",
            timezone="America/New_York",
            session="0930-1610",
            holidays=recorded.HOLIDAYS[:226],
            aliases=("SPCFD:SPX", "SP_DLY:SPX"),
        )
    )
    assert (
        messages.decode(rut).p.facts.info("TVC:RUT")
        == SymbolInfo(  # type: ignore[union-attr]
            symbol="TVC:RUT",
            full_name="TVC:RUT",
            pro_name="TVC:RUT",
            exchange="TVC",
            listed_exchange="TVC",
            description="RUSSELL 2000",
            type="index",
            currency="USD",
            timezone="America/New_York",
            session="0900-1615",
            holidays=recorded.HOLIDAYS[:226],
            price_scale=10000,
            has_volume=False,
        )
    )


def test_a_year_and_a_half_of_daily_bars(captures: Path) -> None:
    text = (captures / "15-spx-1D-timescale-series-timeframe-completed.txt").read_text()
    assert read(text) == [
        Unknown("series_timeframe"),
        ("cs_HkkyfdFBmlYf", {"sds_7": ("s1", rows(*recorded.SPX_DAYS), 1686341400000)}),
        Unknown("series_timeframe"),
        SeriesCompleted("cs_HkkyfdFBmlYf", "sds_7", "streaming", "s1"),
    ]


def test_completions_say_how_delayed_a_series_is(captures: Path) -> None:
    said = read((captures / "16-series-completed-delayed.txt").read_text())
    assert [item for item in said if not isinstance(item, Unknown)] == [
        SeriesCompleted("cs_1lMtxZTkwtYN", "sds_5", "streaming", "s1"),
        SeriesCompleted("cs_FgfPxXzCgyqG", "sds_2", "delayed_streaming_900", "s1"),
        SeriesCompleted("cs_tP31hw7Hjj9a", "sds_3", "delayed_streaming_900", "s1"),
        SeriesCompleted("cs_0USnzSyOw3K4", "sds_4", "streaming", "s1"),
        SeriesCompleted("cs_HkkyfdFBmlYf", "sds_7", "streaming", "s1"),
        SeriesCompleted("cs_qgmDV4kRhh9c", "sds_6", "streaming", "s1"),
    ]
    assert said.count(Unknown("series_timeframe")) == len(said) - 6 == 8


def test_bars_of_five_numbers_have_no_volume(captures: Path) -> None:
    said = messages.decode((captures / "17-ndx-1m-no-volume-cut.json").read_text()).p
    assert isinstance(said, SeriesData)
    assert said.session == "cs_FgfPxXzCgyqG"
    assert said.objects["sds_2"].bars().same_as(Bars.from_rows(recorded.NDX_MINUTES))
    assert said.objects["sds_2"].close_ms == 1686341760000


def test_volumes_of_a_coin_are_fractions(captures: Path) -> None:
    parameters = json.loads((captures / "19-btcusdt-1D-fractional-volume.json").read_text())
    assert meaning(json.dumps({"m": "timescale_update", "p": parameters})) == (
        "cs_nibldyin8v0q",
        {"sds_1": ("s1", rows(*BTCUSDT_DAYS), 1786233600000)},
    )


@pytest.mark.parametrize(
    "name",
    ["12-aapl-anonymous-2024-with-qsd-error.txt", "13-quotes-index-crypto-stock.txt", "14-symbol-resolved-indices.txt"],
)
def test_recorded_frames_are_what_the_encoder_makes(captures: Path, name: str) -> None:
    for text in texts_of(captures / name):
        assert "".join(map(frames.encode, frames.decode(text))) == text
