"""The replay as a stream: what was recorded through the real provider is said again, by the clocks of the recording."""

from pathlib import Path

import pytest

from tests.replay.recording import SYMBOLS, Said, played, recorded


@pytest.mark.parametrize("connections", [1, 3])
def test_a_recording_says_again_what_was_said(tmp_path: Path, connections: int) -> None:
    path = tmp_path / "capture"
    live = recorded(path, symbols_per_connection=-(-len(SYMBOLS) // connections))
    again = played(path)
    assert Said.by(again) == Said.by(live)
    assert all(len(changes) > 2 for changes in Said.by(live).quotes.values())
    assert [*dict.fromkeys(live.states), "stopped"] == [*dict.fromkeys(again.states)]
    assert not again.together
