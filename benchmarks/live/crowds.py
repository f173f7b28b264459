"""3.17–3.20: five thousand browsers, browsers that do not read, a thousand at once, memory for each."""

import time

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from benchmarks.live.bench import FLUSH_MS, RUNS, Bench, median
from benchmarks.live.load import Browsers, Crowd
from benchmarks.live.site import Servers, Site, ours, served, told

TICKS = 2000.0
STALLED = 4
KIB, MIB = 1024, 1024**2
HEARTBEAT_S = 2.0  # where the limit is waited for
CLOSE_S = 60.0
LEAVE_S = 1.0  # until the server has said goodbye to a storm


def five_thousand(bench: Bench) -> None:
    """Two web processes, which share the cores with everything else."""
    crowd = Crowd(5000, inflight=200)
    with bench.site(ours(core=None), crowd, ports=2) as site:
        with site.fed(TICKS):
            time.sleep(3.0)
            windows = [site.measure(2.0) for _ in range(5)]
        missing = site.missing()
    bench.tell("3.17 latest values that did not arrive", missing, "values", goal="<= 0", runs=1)
    worst = max(one.p99_ms for one in windows)
    bench.tell("3.17 age on arrival, worst p99 of 5 windows", worst, "ms", goal="<= 600", runs=5)
    first, last = windows[0].p50_ms, windows[-1].p50_ms
    bench.tell(
        "3.17 age on arrival, p50 of the last window",
        last,
        "ms",
        peer="first window",
        value=first,
        goal="<= 1.5",
        runs=1,
    )
    interval = median(windows, lambda one: crowd.connections / one.frames * 1000)
    bench.tell("3.17 interval of a browser's updates", interval, "ms", peer="configured", value=FLUSH_MS, runs=5)
    bench.tell("3.17 values delivered a second", median(windows, lambda one: one.values), "1/s", runs=5)
    bench.tell("3.17 both web processes", median(windows, lambda one: one.cores), "cores", runs=5)
    bench.tell("3.17 load client", median(windows, lambda one: one.load_cores), "cores", runs=5)


def slow_readers(bench: Bench) -> None:
    crowd = Crowd(20, each=200, receive_buffer=64 * KIB)
    with bench.site(ours(), crowd) as site, site.fed(2 * TICKS):
        time.sleep(1.0)
        before, memory = site.measure(3.0), site.memory_bytes
        site.browsers.stall(STALLED)
        time.sleep(3.0)
        during = site.measure(3.0)
        bench.tell("3.18 p99 of the others, 4 of 20 not reading", during.p99_ms, "ms", peer="all reading",
                   value=before.p99_ms, goal="<= 1.5", runs=1)  # fmt: skip
        seconds, most = until_closed(site, STALLED)
        bench.tell("3.18 memory gained, uvicorn", (most - memory) / MIB, "MiB", goal="<= 10", runs=1)
        bench.tell("3.18 those not reading cut off after, uvicorn", seconds + 6.0, "s", runs=1)
    daphne = ours(WEB_SERVER="daphne", LIVE_HEARTBEAT_S=f"{HEARTBEAT_S:g}")
    with bench.site(daphne, crowd) as site, site.fed(500):
        time.sleep(1.0)
        site.browsers.stall(STALLED)
        seconds, _ = until_closed(site, STALLED)
        limit = 2.5 * HEARTBEAT_S
        bench.tell("3.18 those not reading closed after, daphne", seconds, "s", peer="heartbeat limit", value=limit,
                   goal="<= 1.5", runs=1)  # fmt: skip


def until_closed(site: Site, count: int) -> tuple[float, int]:
    """Seconds until the server has let go of so many sockets, and the most memory it had meanwhile."""
    server = site.servers[0]
    began, sockets, most = time.monotonic(), server.sockets, 0
    while server.sockets > sockets - count and time.monotonic() < began + CLOSE_S:
        most = max(most, site.memory_bytes)
        time.sleep(0.05)
    return time.monotonic() - began, most


def storm(bench: Bench) -> None:
    """They come while the feed speaks, and are ready when each has its first values: strangers, then one account."""
    logged_in = ours(ANONYMOUS_VIEWING="off", LIVE_MAX_CONNECTIONS_PER_ACCOUNT="100000")
    for whose, servers, cookie in (("", ours(), ""), (" of an account", logged_in, session_cookie())):
        storms = storms_on(bench, servers, Crowd(1000, inflight=1000, cookie=cookie))
        middle = sorted(storms, key=lambda one: one.accepted_s)[RUNS // 2]
        bench.tell(f"3.19 1,000 at once{whose}, all accepted after", middle.accepted_s, "s", goal="<= 2")
        bench.tell(f"3.19 1,000 at once{whose}, all with their first values after", middle.ready_s, "s")
        refused = sum(one.refused for one in storms)
        bench.tell(f"3.19 1,000 at once{whose}, refused or lost", refused, "connections", goal="<= 0")


def storms_on(bench: Bench, servers: Servers, crowd: Crowd) -> list[Browsers]:
    with served(bench.folder, servers) as up:
        told(up, "blocks", crowd.symbols).say(f"rate {TICKS}")
        storms = []
        for _ in range(RUNS):
            browsers = Browsers(up.children, bench.program, up.ports, crowd)
            storms.append(browsers)
            browsers.leave()
            time.sleep(LEAVE_S)
        return storms


def session_cookie() -> str:
    user, client = User.objects.create_user("browser"), Client()
    client.force_login(user)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


def memory(bench: Bench) -> None:
    costs, sizes = {}, {}
    for deflate, goal in ((False, "<= 35"), (True, "<= 70")):
        crowd = Crowd(1000, snapshots=not deflate, deflate=deflate)  # it does not inflate
        word = "on" if deflate else "off"
        with served(bench.folder, ours(LIVE_DEFLATE=word)) as up:
            feed = told(up, "blocks", crowd.symbols)
            before = up.servers[0].memory_bytes
            site = Site(up.servers, feed, Browsers(up.children, bench.program, up.ports, crowd), crowd)
            window = site.window(500, 3.0)
            each = (site.memory_bytes - before) / crowd.connections
        costs[word], sizes[word] = window.cores / window.frames * 1e6, window.bytes / window.frames
        bench.tell(f"3.20 memory for each of 1,000 browsers, deflate {word}", each / KIB, "KiB", goal=goal, runs=1)
    bench.tell("3.20 web CPU per frame, deflate on", costs["on"], "us", peer="deflate off", value=costs["off"], runs=1)
    bench.tell("3.20 size of a frame, deflate on", sizes["on"], "bytes", peer="deflate off", value=sizes["off"], runs=1)
