"""The replay as a stream: what was recorded through the real provider is said again, by the clocks of the recording."""

import time
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from infrastructure.errors import Rejected
from infrastructure.replay import ReplayConfig, ReplayStreamProvider
from infrastructure.replay.lines import Record, encode
from infrastructure.tradingview.base import (
    BarUpdate,
    QuoteUpdate,
    SeriesBegun,
    StreamState,
    SymbolRefused,
    Wanted,
)
from infrastructure.tradingview.live_series import RECENT_BARS
from marketdata.providers import get_provider, get_stream_provider
from tests.replay.recording import MINUTE, SYMBOLS, WANTED, Said, heard_quote, played, recorded
from tests.tradingview.listening import Sink


@pytest.mark.parametrize("connections", [1, 3])
def test_a_recording_says_again_what_was_said(tmp_path: Path, connections: int) -> None:
    path = tmp_path / "capture"
    live = recorded(path, symbols_per_connection=-(-len(SYMBOLS) // connections))
    again = played(path)
    assert Said.by(again) == Said.by(live)
    assert all(len(changes) > 2 for changes in Said.by(live).quotes.values())
    assert [*dict.fromkeys(live.states), "stopped"] == [*dict.fromkeys(again.states)]
    assert not again.together


def test_a_speed_is_recorded_seconds_in_one_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_text("".join(encode(Record(float(n), n * 1000, 0, "+", "")) for n in range(4)))
    began_s = time.monotonic()
    played(path, speed=10)
    assert time.monotonic() - began_s >= 0.3


def test_the_end_is_said_and_what_is_known_is_still_there(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    live = recorded(path)
    sink = Sink()
    provider = ReplayStreamProvider(ReplayConfig(path, 1_000_000))
    provider.want(Wanted(frozenset({"NASDAQ:AAPL"})))
    provider.start(sink)
    sink.until(lambda _: sink.states[-1:] == ["stopped"])
    assert sink.of(StreamState)[-1].reason == "The recording capture has ended."
    at_end = len(sink.events)
    provider.want(WANTED)
    sink.until(lambda _: all(sink.of(QuoteUpdate, one) and sink.of(BarUpdate, one) for one in SYMBOLS))
    provider.close()
    assert sink.states[-1] == "stopped"
    for symbol in SYMBOLS:
        assert heard_quote(sink, symbol) == heard_quote(live, symbol)
        begun, *updates = [
            e for e in sink.events[at_end:] if isinstance(e, SeriesBegun | BarUpdate) and e.symbol == symbol
        ]
        assert isinstance(begun, SeriesBegun)
        assert begun.from_ms == updates[0].bar.time_ms
        kept = {update.bar.time_ms: str(update.bar) for update in updates}
        closed = Said.by(live).closed[symbol, MINUTE]
        assert kept == {ms: closed.get(ms, kept[ms]) for ms in kept}
        assert len(kept) == RECENT_BARS


def test_its_clock_is_the_recordings(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_text(encode(Record(0.0, 1_767_625_247_345, 0, "+", "")))
    provider = ReplayStreamProvider(ReplayConfig(path))
    assert provider.clock_ms(7) == 7
    sink = Sink()
    provider.want(WANTED)
    provider.start(sink)
    sink.until(lambda _: sink.states[-1:] == ["stopped"])
    provider.close()
    assert provider.clock_ms(7) == 1_767_625_247_345


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("garbage\n", "{path}, line 1: no line of a capture"),
        (None, "The recording {path} cannot be read: No such file or directory."),
    ],
)
def test_a_recording_that_is_none_is_refused_and_the_stream_stays_up(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "capture"
    if content:
        path.write_text(content)
    sink = Sink()
    provider = ReplayStreamProvider(ReplayConfig(path))
    provider.want(WANTED)
    provider.start(sink)
    sink.until_states("connecting", "refused")
    assert sink.of(StreamState)[-1].reason == reason.format(path=path)
    provider.want(Wanted())
    sink.until_states("connecting", "refused", "stopped")
    provider.close()
    assert sink.of(SymbolRefused) == []


def test_the_settings_make_both(tmp_path: Path, settings: Settings) -> None:
    for path in ("infrastructure.replay.ReplayProvider", "infrastructure.replay.ReplayStreamProvider"):
        settings.MARKETDATA_PROVIDER = settings.MARKETDATA_STREAM_PROVIDER = path
        for get in (get_provider, get_stream_provider):
            settings.REPLAY_FILE = ""
            with pytest.raises(Rejected, match=r"^REPLAY_FILE names no recording\.$"):
                get()
            settings.REPLAY_FILE = str(tmp_path)
            assert type(get()).__name__ == path.rpartition(".")[2]
