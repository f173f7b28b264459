"""Real processes die and networks are cut: a program resumes by itself, and knows whether it missed closed bars."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from django.contrib.auth.models import User

from infrastructure.errors import Unavailable
from infrastructure.persistence import Database
from marketdata.services import api_keys
from tests.live.platform import DEADLINE_S, ManagePy
from tests.live.program import Network, Program
from tests.live.speaker import Speaker
from tests.persistence.conftest import RedisServer
from tests.servers import free_port

pytestmark = pytest.mark.slow
TOPIC = "TEST:TICK@1m"


class Stage:
    """A web server, one program that watches, and one that speaks as the feed does."""

    def __init__(self, folder: Path, server: str, speaker: Speaker) -> None:
        self._folder, self._server, self._speaker = folder, server, speaker
        self.port, self.minute = free_port(), 0

    def web(self) -> ManagePy:
        options = {"WEB_SERVER": self._server, "ANONYMOUS_VIEWING": "off", "LIVE_HEARTBEAT_S": "0.5"}
        return ManagePy(self._folder, "serve", PORT=str(self.port), **options)

    async def close_bars(self, count: int) -> int:
        """The last minute of so many more that have closed; a Redis that is away is tried again, as the feed does."""
        for _ in range(count):
            self.minute += 1
            async with asyncio.timeout(DEADLINE_S):
                while not await asyncio.to_thread(self._said):  # noqa: ASYNC110  another process's state
                    await asyncio.sleep(0.05)
        return self.minute

    async def until_heard(self, program: Program) -> None:
        """Closes bars until the program hears them."""
        while not program.closed:
            await self.close_bars(1)
            await asyncio.sleep(0.05)

    def _said(self) -> bool:
        try:
            self._speaker.bar(TOPIC, self.minute, float(self.minute), closed=True)
        except Unavailable:
            return False
        return True


@pytest.fixture
def stage(tmp_path: Path, database: Database, speaker: Speaker) -> Callable[[str], Stage]:
    folder = tmp_path / "logs"
    folder.mkdir()
    return lambda server: Stage(folder, server, speaker)


@pytest.fixture
def key(database: Database) -> str:
    return api_keys.create(User.objects.create_user("robot"), "test")[1]


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
async def test_restarts_of_the_web_server_and_cuts_of_the_network_lose_no_closed_bar(
    stage: Callable[[str], Stage], key: str, server: str
) -> None:
    played = stage(server)
    with ExitStack() as processes:
        webs = [processes.enter_context(played.web())]
        async with (
            Network(played.port) as network,
            Program(f"ws://127.0.0.1:{network.port}/ws/v1/", key, TOPIC) as program,
        ):
            await played.until_heard(program)
            first = min(program.closed)
            for number in (signal.SIGTERM, signal.SIGKILL):
                await asyncio.to_thread(webs[-1].stop, number)
                last = await played.close_bars(5)
                webs.append(processes.enter_context(played.web()))
                await program.until(last)
                await program.until(await played.close_bars(3))
            for harm in (network.cut, network.silence):
                lost, resumed = program.lost, program.resumed
                harm()
                last = await played.close_bars(5)
                await program.until_lost(lost + 1)
                network.heal()
                await program.until_resumed(resumed + 1)
                await program.until(last)
            assert program.holes == 0
            assert list(program.closed) == list(range(first, played.minute + 1))


async def test_a_lost_redis_is_told_and_everything_after_it_comes(
    stage: Callable[[str], Stage], key: str, redis_server: RedisServer
) -> None:
    played = stage("uvicorn")
    with played.web():
        async with Program(f"ws://127.0.0.1:{played.port}/ws/v1/", key, TOPIC) as program:
            await played.until_heard(program)
            await asyncio.to_thread(redis_server.kill)
            await asyncio.to_thread(redis_server.start)
            await program.until(await played.close_bars(3))
            await program.until_hole(1)
            holes = program.holes
            with redis.Redis.from_url(redis_server.url) as client:
                client.flushall()
            first = await played.close_bars(1)
            await program.until_hole(holes + 1)
            last = await played.close_bars(3)
            await program.until(last)
            assert set(range(first, last + 1)) <= set(program.closed)
            assert program.connections == 1
