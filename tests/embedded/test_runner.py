import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.embedded import Runner
from infrastructure.errors import Rejected
from tests.embedded.processes import DEADLINE_S, QUICK, WELL_BEHAVED, Lines, gone, python, runner, wait_until


async def test_stages_start_in_order_and_a_stage_waits_until_the_one_before_answers(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    slow = f"import time, pathlib; time.sleep(0.3); pathlib.Path({str(flag)!r}).touch(); time.sleep(600)"
    control, lines = runner()
    await control.start(python("slow", slow, answers=flag.exists))
    look = f"import pathlib, signal; print('flag', pathlib.Path({str(flag)!r}).exists()); signal.pause()"
    await control.start(python("next", look))
    assert await lines.wait_for("next", "flag .*") == ["flag True"]
    assert list(control.processes()) == ["slow", "next"]
    await control.stop()


async def test_output_is_handed_on_line_by_line_with_the_name_of_the_process() -> None:
    control, lines = runner()
    code = "import sys, time; print('one\\ntwo'); print('three', file=sys.stderr); print('no end', end='', flush=True)"
    assert await control.run_once(python("talker", code)) == 0
    assert sorted(lines.of("talker")) == ["no end", "one", "three", "two"]


async def test_a_line_without_end_is_shown_in_pieces_and_loses_nothing() -> None:
    control, lines = runner()
    assert await control.run_once(python("talker", "print('x' * 1_000_000)")) == 0
    assert "".join(lines.of("talker")) == "x" * 1_000_000


async def test_a_child_that_dies_is_started_again_with_a_line_saying_so() -> None:
    control, lines = runner()
    await control.start(python("worker", WELL_BEHAVED))
    first = await lines.pid("worker")
    os.kill(first, signal.SIGKILL)
    second = await lines.pid("worker", life=2)
    assert second != first
    assert [text for text in lines.of("worker") if not text.startswith("pid")] == [
        "was ended by SIGKILL; starting it again in 0.1 s"
    ]
    assert control.processes() == {"worker": second}
    await control.stop()


async def test_a_child_that_keeps_failing_is_started_again_and_again() -> None:
    control, lines = runner()
    await control.start(python("broken", "import sys; sys.exit(3)", answers=None, explain=lambda code, tail: None))
    await lines.wait_for("broken", "^exited with code 3; starting it again in 0.1 s$", count=3)
    await control.stop()


async def test_a_restart_does_not_wait_for_a_grandchild_that_keeps_the_output_open() -> None:
    code = "import subprocess, sys, os; subprocess.Popen(['sleep', '600']); print('pid', os.getpid()); sys.stdin.read()"
    control, lines = runner()
    await control.start(python("parent", code))
    await lines.pid("parent", life=2)  # its input is empty, so it ends by itself
    await control.stop()


async def test_what_a_dead_child_leaves_in_its_session_is_killed() -> None:
    code = "import subprocess; print('pid', subprocess.Popen(['sleep', '600']).pid)"
    control, lines = runner()
    assert await control.run_once(python("parent", code)) == 0
    orphan = await lines.pid("parent")
    wait_until(lambda: gone(orphan), "the orphan ends")


async def test_stages_stop_in_reverse_and_each_child_may_say_goodbye() -> None:
    control, lines = runner()
    await control.start(python("store", WELL_BEHAVED))
    await control.start(python("web", WELL_BEHAVED), python("feed", WELL_BEHAVED))
    pids = [await lines.pid(name) for name in ("store", "web", "feed")]
    await control.stop()
    assert all(gone(pid) for pid in pids)
    farewells = [name for name, text in lines.said if text == "goodbye"]
    assert sorted(farewells) == ["feed", "store", "web"]
    assert farewells[-1] == "store"


async def test_a_child_that_ignores_the_request_to_stop_is_killed_after_its_grace() -> None:
    stubborn = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print('pid', os.getpid()); time.sleep(600)"
    control, lines = runner()
    await control.start(python("stubborn", stubborn, grace_s=0.2))
    pid = await lines.pid("stubborn")
    await control.stop()
    assert gone(pid)
    assert lines.of("stubborn")[1:] == ["did not stop within 0.2 s; killed"]


async def test_a_child_that_cannot_start_is_explained_by_its_exit_code_and_its_last_lines() -> None:
    control, lines = runner()
    service = python(
        "store",
        "import sys; print('no room'); sys.exit(7)",
        answers=lambda: False,
        explain=lambda code, tail: f"{code}: {tail[-1]}",
        quiet=True,
    )
    with pytest.raises(Rejected) as caught:
        await control.start(service)
    assert str(caught.value) == "7: no room"
    assert lines.said == []  # a quiet start says nothing itself
    await control.stop()


async def test_a_stop_in_the_middle_of_a_start_leaves_no_process() -> None:
    control, lines = runner()
    starting = asyncio.create_task(control.start(python("slow", WELL_BEHAVED, answers=lambda: False)))
    pid = await lines.pid("slow")
    starting.cancel()
    await control.stop()
    assert gone(pid)


HOST = f"""
import asyncio, os, sys
from infrastructure.backoff import Backoff
from infrastructure.embedded import Runner, Service
async def main():
    runner = Runner(lambda name, text: print(name, text, flush=True), Backoff(1, 1, 1, 0))
    await runner.start(Service("child", [sys.executable, "-c", {WELL_BEHAVED!r}]))
    await asyncio.sleep(600)
asyncio.run(main())
"""


def test_kill_9_of_the_process_that_runs_the_runner_ends_its_children() -> None:
    with subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout
        pid = int(host.stdout.readline().split()[-1])
        assert not gone(pid)
        host.kill()
        host.wait(DEADLINE_S)
        wait_until(lambda: gone(pid), "the child ends with its parent")


def test_where_the_kernel_cannot_tell_a_watcher_ends_the_child_with_its_parent() -> None:
    follow = (
        "import os, sys; from infrastructure.embedded.tether import follow\n"
        f"sys.exit(follow(int(sys.argv[1]), 9, [sys.executable, '-u', '-c', {WELL_BEHAVED!r}]))"
    )
    host = f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {follow!r}, str(os.getpid())]).wait()"
    with subprocess.Popen([sys.executable, "-c", host], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline().split()[-1])
        assert not gone(pid)
        parent.kill()
        parent.wait(DEADLINE_S)
        wait_until(lambda: gone(pid), "the child ends with its parent")


async def test_a_stop_is_handed_on_by_the_watcher() -> None:
    lines = Lines()
    code = (
        "import os, sys; from infrastructure.embedded.tether import follow\n"
        f"sys.exit(follow(os.getppid(), 9, [sys.executable, '-u', '-c', {WELL_BEHAVED!r}]))"
    )
    control = Runner(lines, QUICK)
    await control.start(python("child", code))
    pid = await lines.pid("child")
    await control.stop()
    assert gone(pid)
    assert lines.of("child")[1:] == ["goodbye"]


async def test_a_child_is_not_asked_before_it_said_that_it_listens() -> None:
    """Somebody else may answer on its port until then."""
    code = "import sys; print('port is in use', file=sys.stderr); sys.exit(2)"
    control, _ = runner()
    service = python("web", code, answers=lambda: True, says="listening on ", explain=lambda code, tail: tail[-1])
    with pytest.raises(Rejected, match=r"^port is in use$"):
        await control.start(service)
    await control.stop()
    talkative = "import time; print('hello'); time.sleep(0.2); print('listening on 1'); time.sleep(600)"
    control, lines = runner()
    asked: list[list[str]] = []
    await control.start(
        python("web", talkative, answers=lambda: not asked.append(lines.of("web")), says="listening on ")
    )
    assert asked == [["hello", "listening on 1"]]
    await control.stop()
