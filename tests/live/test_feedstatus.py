"""`manage.py feedstatus`: what people and monitors learn from it."""

import json
import time
from io import StringIO
from pathlib import Path
from re import findall
from typing import Any

import pytest
from django.core.management import call_command

from infrastructure.persistence import Database, keys
from infrastructure.persistence.live import LiveCache
from marketdata.services.feed_report import Feed
from marketdata.services.feed_state import HEALTH, FeedState
from tests.live.test_feed import eventually, running
from tests.persistence.conftest import RedisServer


def feedstatus(*arguments: str) -> tuple[int, str]:
    """Exit code and what was said."""
    out = StringIO()
    try:
        call_command("feedstatus", *arguments, stdout=out)
    except SystemExit as end:
        assert isinstance(end.code, int)
        return int(end.code), out.getvalue()
    return 0, out.getvalue()


def say(cache: LiveCache, state: str, reason: str = "", age_s: float = 0, since_s: float = 0) -> Feed:
    now_ms = time.time_ns() // 1_000_000
    said = Feed(state, reason, int(now_ms - since_s * 1000), int(now_ms - age_s * 1000), "simulator", True, 3, 12, 4)
    cache.set_json(keys.FEED, said, 60)
    return said


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("live", 0), ("market_closed", 0),
        ("connecting", 1), ("reconnecting", 1), ("stale", 1), ("stopped", 1),
        ("standby", 2), ("refused", 2), ("absent", 2),
    ],
)  # fmt: skip
def test_each_state_has_an_exit_code(cache: LiveCache, state: str, code: int) -> None:
    say(cache, state)
    assert feedstatus()[0] == code


def test_every_state_of_the_protocol_has_one() -> None:
    document = (Path(__file__).parents[2] / "docs/live-protocol.md").read_text()
    table = document.partition("| `state` | meaning |")[2].partition("\n\n")[0]
    named = {name for row in findall(r"^\| (`.*?) \|", table, 8) for name in findall(r"`(\w+)`", row)}
    assert named == set(HEALTH)


def test_one_line_says_it_to_people(cache: LiveCache) -> None:
    said = say(cache, "reconnecting", "The connection was lost.", since_s=130)
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(said.since_ms / 1000))
    assert feedstatus() == (
        1,
        f"reconnecting since {moment} UTC (2 min) from simulator: 12 symbols, 4 closed bars not stored yet. "
        "The connection was lost.\n",
    )


def test_programs_get_all_of_it(cache: LiveCache) -> None:
    said = say(cache, "market_closed", "No streamed market is open.")
    code, text = feedstatus("--json")
    expected: dict[str, Any] = {name: getattr(said, name) for name in FeedState.__struct_fields__}
    assert (code, json.loads(text)) == (0, {**expected, "exit_code": 0})


def test_nothing_in_redis_means_that_no_feed_runs(cache: LiveCache) -> None:
    assert feedstatus() == (2, "absent. No feed is running.\n")


def test_an_old_report_counts_as_absent(cache: LiveCache) -> None:
    say(cache, "live", age_s=30)
    code, text = feedstatus()
    assert (code, "Nothing has been heard from the feed for 30 s; it was live." in text) == (2, True)
    assert feedstatus("--max-age", "60")[0] == 0


@pytest.mark.parametrize("rubbish", [["live"], {}, {"state": 3}, {"state": "live", "at_ms": "soon"}])
def test_of_what_is_no_report_nobody_knows_anything(cache: LiveCache, rubbish: object) -> None:
    cache.set_json(keys.FEED, rubbish, 60)
    code, text = feedstatus()
    assert (code, text.partition(":")[0]) == (3, "unknown. What the feed says of itself cannot be read")


def test_without_redis_nobody_knows(redis_server: RedisServer) -> None:
    redis_server.kill()
    code, text = feedstatus()
    assert (code, text.partition(":")[0]) == (3, "unknown. Redis does not answer")


def test_a_feed_that_ends_says_so(database: Database, cache: LiveCache) -> None:
    with running(database, cache) as run:
        run.source.state("live")
        eventually(lambda: feedstatus()[0] == 0)
    code, text = feedstatus()
    assert (code, text.startswith("absent since "), text.endswith("The feed was stopped.\n")) == (2, True, True)
