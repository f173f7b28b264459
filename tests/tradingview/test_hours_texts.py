"""Texts of trading hours: rubbish is malformed, and the recorded ones say when the recorded bars opened."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructure.errors import Malformed
from infrastructure.intervals import INTERVALS
from infrastructure.tradingview.hours import TradingHours
from tests.tradingview.markets import ms


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, pattern
    return match[1]


RUBBISH = [
    "",
    "x",
    "0930",
    "0930-",
    "09:30-16:00",
    "0930-1600:",
    "0930-1600:8",
    "0930-1600:0",
    "2500-2600",
    "0960-1600",
    "9:30-16",
    "0930-1600,",
    "0930-1600;",
    ";",
    "8;0930-1600",
    "1;2;0930-1600",
    "0930-1200,1100-1600",
    "0930F1-0930F1",
    "1600F1-1500F1",
    "0000F9-2400",
    "24x7:1",
    "０９３０-1600",
]


@pytest.mark.parametrize("session", [*RUBBISH, "0930-1600|", "1600-1700:2|1659-1800:2", "1700F1-1800"])
def test_rubbish_is_malformed_and_kept(session: str) -> None:
    with pytest.raises(Malformed) as caught:
        TradingHours.parse(session, "Etc/UTC")
    assert caught.value.sample == session


@pytest.mark.parametrize(
    "parts",
    [
        {"timezone": "Mars/Olympus"},
        {"timezone": ""},
        {"timezone": "../etc/passwd"},
        {"timezone": "America"},
        {"holidays": ["2024-12-25"]},
        {"holidays": ["20241332"]},
        {"holidays": ["00010101"]},
        {"corrections": "0930-1300"},
        {"corrections": "0930-1300:"},
        {"corrections": "off:20241129"},
        {"corrections": "1700F1-1300:20241129;0930-1800:20241128"},  # overlap
    ],
)
def test_rubbish_around_the_session_is_malformed(parts: dict) -> None:
    with pytest.raises(Malformed):
        TradingHours.parse(**{"session": "0930-1600", "timezone": "Etc/UTC", **parts})


@settings(max_examples=300)
@given(st.text("0123456789-,:;|Fx dayof", max_size=30), st.text("0123456789-,:;Fdayof", max_size=40))
def test_any_text_is_read_or_malformed(session: str, corrections: str) -> None:
    try:
        hours = TradingHours.parse(session, "America/New_York", (), corrections)
    except Malformed:
        return
    spans = hours.spans(ms(2024, 3, 1), ms(2024, 4, 1))
    assert all(one.close_ms <= other.open_ms for one, other in pairwise(spans))


def test_session_texts_of_real_payloads_are_read(captures: Path) -> None:
    seen = set()
    for file in sorted(captures.iterdir()):
        text = file.read_text().replace('\\"', '"')
        for info in re.finditer(r'"session_holidays":"([\d,]*)".*?"timezone":"([^"]+)"', text):
            holidays, timezone = info[1].split(","), info[2]
            for part in json.loads(found(r'"subsessions":(\[.*?\])', info[0])):
                hours = TradingHours.parse(part["session"], timezone, holidays, part.get("session-correction", ""))
                seen.add((part["session"], timezone))
                assert hours.spans(ms(2023, 6, 5), ms(2023, 6, 6))
    assert seen == {
        (text, "America/New_York")
        for text in [
            "0400-0930",
            "0400-2000",
            "0900-0930",
            "0900-1615",
            "0930-1600",
            "0930-1610",
            "0930-1615",
            "1600-2000",
            "2000-0400",
            "2000-2000",
        ]
    }


def test_real_daily_bars_open_and_close_where_the_hours_say(captures: Path) -> None:
    text = json.loads((captures / "09-aapl-1D-five-bars-anonymous.json").read_text())[1]
    info = json.loads(found(r'~m~(\{"m":"symbol_resolved".*?\})~m~', text))["p"][2]
    regular = next(part for part in info["subsessions"] if part["id"] == "regular")
    hours = TradingHours.parse(
        info["session"], info["timezone"], info["session_holidays"].split(","), regular["session-correction"]
    )
    times = [int(float(t)) * 1000 for t in re.findall(r'"v":\[([\d.]+)', text)]
    assert hours.opens(times[0], times[-1] + 1, INTERVALS["1d"]).tolist() == times
    bar_close_time = int(found(r'"bar_close_time":(\d+)', text))
    assert hours.bar_close_ms(times[-1], INTERVALS["1d"]) == (bar_close_time + 1) * 1000


def test_real_index_bars_are_those_expected(captures: Path) -> None:
    """368 daily bars of SP:SPX, with every holiday in between."""
    resolved = (captures / "14-symbol-resolved-indices.txt").read_text()
    info = next(
        json.loads(frame)["p"][2]
        for frame in re.split(r"~m~\d+~m~", resolved)
        if '"full_name":"SP:SPX"' in frame or '"pro_name":"SP:SPX"' in frame
    )
    hours = TradingHours.parse("0930-1600", info["timezone"], info["session_holidays"].split(","))
    bars = (captures / "15-spx-1D-timescale-series-timeframe-completed.txt").read_text()
    times = [int(float(t)) * 1000 for t in re.findall(r'"v":\[([\d.]+)', bars)]
    assert hours.opens(times[0], times[-1] + 1, INTERVALS["1d"]).tolist() == times
