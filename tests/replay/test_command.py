"""`runfeed` with words that make no sense: one sentence, before anything is opened."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

HERE = Path(__file__)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"replay": Path("no-such-file")}, "There is no recording no-such-file."),
        ({"replay": HERE, "speed": 0.0}, "--speed must be a number between 0.01 and 1000000."),
        ({"replay": HERE, "speed": float("nan")}, "--speed must be a number between 0.01 and 1000000."),
        ({"record": HERE, "record_mb": 0}, "--record-mb must be 1 or more."),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("runfeed", **options)
    assert str(caught.value) == sentence


def test_a_recording_and_a_replay_at_once() -> None:
    with pytest.raises(CommandError, match="not allowed with argument"):
        call_command("runfeed", "--record", "one", "--replay", "other")


def test_what_is_played_is_not_recorded_again(settings: Settings) -> None:
    settings.MARKETDATA_SOURCE, settings.REPLAY_FILE = "replay", str(HERE)
    with pytest.raises(CommandError, match=r"^A recording that is played is not recorded again\.$"):
        call_command("runfeed", "--record", "one")
