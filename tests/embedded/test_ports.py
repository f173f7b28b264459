import json
import socket
from pathlib import Path

from infrastructure.embedded.ports import find_free, is_free, settle


def test_ports_are_kept_from_one_start_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    wanted = {"mongodb": find_free(), "redis": find_free()}
    assert settle(path, wanted) == wanted
    assert json.loads(path.read_text()) == wanted


def test_a_taken_port_is_replaced_and_the_new_one_kept(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = settle(path, {"mongodb": taken, "redis": find_free({taken})})
    assert ports["mongodb"] not in (taken, ports["redis"])
    assert is_free(ports["mongodb"])
    assert json.loads(path.read_text()) == ports


def test_two_stores_and_the_web_server_never_share_a_port(tmp_path: Path) -> None:
    port, web = find_free(), find_free()
    ports = settle(tmp_path / "ports.json", {"mongodb": port, "redis": port, "simulator": web}, avoid={web})
    assert ports["mongodb"] == port
    assert len({*ports.values(), web}) == 4


def test_ports_that_were_not_asked_for_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    path.write_text(json.dumps({"redis": 1234}))
    ports = settle(path, {"mongodb": find_free()})
    assert json.loads(path.read_text()) == {"redis": 1234, **ports}


def test_a_file_that_nobody_can_read_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    path.write_text("{")
    ports = settle(path, {"redis": find_free()})
    assert json.loads(path.read_text()) == ports


def test_a_port_whose_last_connection_lingers_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            assert not is_free(port)
            accepted.close()  # the server's side closes first, so its port lingers
            assert client.recv(1) == b""
    assert is_free(port)
