"""3.21: from a message of the source, through the real feed process, Redis and the web process, to the browser."""

import time

from benchmarks.live.bench import FLUSH_MS, RUNS, Bench, median
from benchmarks.live.children import MEASURED
from benchmarks.live.load import Browsers, Crowd
from benchmarks.live.site import START_S, Window, ours, python, served
from infrastructure.embedded.ports import find_free

TICKS = 1000.0
WINDOW_S = 4.0


def from_the_source(bench: Bench) -> None:
    crowd = Crowd(200, stamp="last_ms")
    with served(bench.folder, ours()) as up:
        port = find_free()
        source = up.children.start(*python("benchmarks.live.source", port))
        source.hear()
        feed = up.children.start(
            *python("manage", "runfeed"), core=MEASURED,
            REDIS_URL=up.redis_url, TRADINGVIEW_WEBSOCKET_URL=f"ws://127.0.0.1:{port}/socket.io/websocket",
        )  # fmt: skip
        browsers = Browsers(up.children, bench.program, up.ports, crowd)
        source.say(f"rate {TICKS}")
        wait_for_values(browsers)
        windows, feed_cores = [], []
        for _ in range(RUNS):
            browsers.reset()
            began, web_s, feed_s = time.monotonic(), up.servers[0].cpu_s, feed.cpu_s
            time.sleep(WINDOW_S)
            seconds = time.monotonic() - began
            heard = browsers.report()
            feed_cores.append((feed.cpu_s - feed_s) / seconds)
            windows.append(
                Window(
                    TICKS * crowd.each * crowd.connections / crowd.symbols, heard["values"] / seconds,
                    heard["frames"] / seconds, heard["bytes"] / seconds,
                    heard["p50_ms"], heard["p99_ms"], heard["longest_ms"],
                    (up.servers[0].cpu_s - web_s) / seconds, heard["cores"], 0.0, heard["backwards"], heard["dead"],
                )
            )  # fmt: skip
    bench.tell("3.21 source to browser, p50", median(windows, lambda one: one.p50_ms), "ms", goal=f"<= {FLUSH_MS}")
    bench.tell("3.21 source to browser, p99", median(windows, lambda one: one.p99_ms), "ms", goal=f"<= {2 * FLUSH_MS}")
    offered = median(windows, lambda one: one.offered)
    bench.tell(
        "3.21 values delivered a second", median(windows, lambda one: one.values), "1/s", peer="sent", value=offered
    )
    bench.tell("3.21 feed process", sorted(feed_cores)[RUNS // 2], "cores")
    bench.tell("3.21 web process", median(windows, lambda one: one.cores), "cores")


def wait_for_values(browsers: Browsers) -> None:
    """The feed must become the leader, connect and subscribe first."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        browsers.reset()
        time.sleep(1.0)
        if browsers.report()["values"]:
            time.sleep(1.0)
            return
    raise TimeoutError("No value of the source reaches a browser.")
