"""`manage.py serve` as a process of its own, on the stores of the test run."""

import contextlib
import errno
import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.embedded.ports import find_free
from marketdata.management.commands.serve import refusal
from tests.embedded.processes import DEADLINE_S, wait_until

MANAGE = Path(__file__).resolve().parent.parent.parent / "manage.py"
SERVERS = pytest.mark.parametrize("server", ["uvicorn", "daphne"])


def command(server: str, port: int, *options: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "WEB_SERVER": server, "PORT": str(port), "PYTHONUNBUFFERED": "1"}
    return [sys.executable, str(MANAGE), "serve", *options], environment


@contextlib.contextmanager
def served(server: str, *options: str) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    port = find_free()
    words, environment = command(server, port, *options)
    with subprocess.Popen(
        words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            wait_until(lambda: answers(port) or process.poll() is not None, f"{server} answers")
            assert process.poll() is None, process.stdout and process.stdout.read()
            yield port, process
        finally:
            process.kill()


def get(port: int, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


def answers(port: int) -> bool:
    try:
        return get(port, "/admin/login/").status == 200
    except OSError:
        return False


@SERVERS
def test_pages_are_served_without_naming_the_server_and_sigterm_ends_it(server: str) -> None:
    with served(server) as (port, process):
        response = get(port, "/admin/login/")
        assert (response.status, response.getheader("Server")) == (200, None)
        process.terminate()
        output, _ = process.communicate(timeout=DEADLINE_S)
        assert (
            output == f"listening on 127.0.0.1:{port} with {server}\n"
        )  # no access log unless asked for, nothing to complain about


@SERVERS
def test_an_access_log_is_there_for_the_asking(server: str) -> None:
    with served(server, "--access-log") as (port, process):
        get(port, "/static/nowhere.css")
        process.terminate()
        output, _ = process.communicate(timeout=DEADLINE_S)
    assert [line for line in output.splitlines() if "/static/nowhere.css" in line and "404" in line]


def test_runserver_is_the_one_that_serves_websockets_too() -> None:
    port = find_free()
    words = [sys.executable, str(MANAGE), "runserver", "--noreload", f"127.0.0.1:{port}"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(port), "runserver answers")
            assert get(port, "/admin/login/").getheader("Server") == "daphne"
        finally:
            process.kill()


@SERVERS
def test_a_taken_port_is_one_sentence_and_exit_code_2(server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        words, environment = command(server, port)
        run = subprocess.run(words, env=environment, text=True, capture_output=True, timeout=DEADLINE_S, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (
        2,
        "",
        f"Port {port} on 127.0.0.1 is in use: stop what listens there, or choose another with PORT.\n",
    )


def test_a_host_that_is_not_this_machine_is_one_sentence_and_exit_code_2() -> None:
    words, environment = command("uvicorn", 8000)
    environment["HOST"] = "192.0.2.1"
    run = subprocess.run(words, env=environment, text=True, capture_output=True, timeout=DEADLINE_S, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("Cannot listen on 192.0.2.1, port 8000 (")
    assert run.stderr.endswith("): choose others with HOST and PORT.\n")


def test_a_port_below_1024_is_refused_with_the_way_out() -> None:
    assert refusal("127.0.0.1", 80, OSError(errno.EACCES, "Permission denied")) == (
        "Port 80 is reserved for the administrator: choose one from 1024 on with PORT."
    )
