"""3.14–3.16: a thousand browsers on one core, beside Channels' groups, `websockets.broadcast` and Node's `ws`."""

from operator import attrgetter

from benchmarks.live.bench import FLUSH_MS, RUNS, Bench, Side, median
from benchmarks.live.load import Crowd
from benchmarks.live.site import broadcast, groups, node_ws, ours

THOUSAND = Crowd(1000)
TICKS = 2000.0
VALUES, COST = attrgetter("values"), attrgetter("us_per_value")


def thousand_browsers(bench: Bench) -> None:
    with bench.site(ours(), THOUSAND) as site:
        windows, missing = [], 0
        for _ in range(RUNS):
            windows.append(site.window(TICKS, 3.0))
            missing += site.missing()
    values = median(windows, lambda one: one.values)
    bench.tell("3.14 latest values that did not arrive", missing, "values", goal="<= 0")
    bench.tell("3.14 quotes out of order", sum(one.backwards for one in windows), "values", goal="<= 0")
    bench.tell("3.14 age on arrival, p50", median(windows, lambda one: one.p50_ms), "ms")
    bench.tell("3.14 age on arrival, p99", median(windows, lambda one: one.p99_ms), "ms", goal=f"<= {FLUSH_MS + 50}")
    bench.tell("3.14 web process", median(windows, lambda one: one.cores), "cores", goal="<= 0.6")
    offered = median(windows, lambda one: one.offered)
    bench.tell("3.14 values delivered a second", values, "1/s", peer="offered", value=offered)
    bench.tell("3.14 frames a second", median(windows, lambda one: one.frames), "1/s")
    bench.tell(
        "3.14 load client (not the bottleneck)", median(windows, lambda one: one.load_cores), "cores", goal="<= 0.7"
    )
    bench.tell("3.14 feed of the benchmark", median(windows, lambda one: one.feed_cores), "cores")


def channel_layers(bench: Bench) -> None:
    """Each at its own saturation: ours with every symbol changed at every flush, beyond which it merges."""
    silent = Crowd(1000, snapshots=False)
    sides = {
        "ours": Side(ours(), THOUSAND, 2 * TICKS),
        "group_send, core layer": Side(groups("core"), silent, 100, "core"),
        "group_send, pub/sub layer": Side(groups("pubsub"), silent, 100, "pubsub"),
    }
    windows = bench.compare(sides, 2)
    mine = windows.pop("ours")
    for peer, theirs in windows.items():
        values, cost = (median(theirs, of) for of in (VALUES, COST))
        bench.tell("3.15 values delivered a second", median(mine, VALUES), "1/s", peer=peer, value=values,
                   goal=">= 30", runs=2)  # fmt: skip
        bench.tell("3.15 web CPU per delivered value", median(mine, COST), "us", peer=peer, value=cost,
                   goal="<= 0.025", runs=2)  # fmt: skip
    bench.tell("3.15 load client, ours (not the bottleneck)", median(mine, lambda one: one.load_cores), "cores",
               goal="<= 0.7", runs=2)  # fmt: skip


def tuned_peers(bench: Bench) -> None:
    """One quote in each frame, where each browser watches one symbol; and merged as the platform does."""
    single, several = 2000, 500

    def sides(connections: int, each: int, batch_ms: tuple[int, ...]) -> dict[str, Side]:
        found = {"ours": Side(ours(), Crowd(connections, each=each), TICKS)}
        crowd = Crowd(connections, each=each, snapshots=False)
        for batch in batch_ms:
            how = f", {batch} ms batches" if batch else ""
            found[f"websockets.broadcast{how}"] = Side(broadcast(batch), crowd, TICKS)
            found[f"Node ws{how}"] = Side(node_ws(batch), crowd, TICKS)
        return found

    windows = bench.compare(sides(single, 1, (0,)))
    mine = windows.pop("ours")
    for peer, theirs in windows.items():
        bench.tell("3.16 web CPU per value, one in a frame", median(mine, COST), "us", peer=peer,
                   value=median(theirs, COST), goal="<= 1")  # fmt: skip
    bench.tell("3.16 values in a frame of ours, one in a frame", median(mine, lambda one: one.values / one.frames), "")
    windows = bench.compare(sides(several, 10, (0, FLUSH_MS)))
    mine = windows.pop("ours")
    for peer, theirs in windows.items():
        bench.tell("3.16 web CPU per value, batched", median(mine, COST), "us", peer=peer,
                   value=median(theirs, COST), goal="" if "batches" in peer else "<= 0.7")  # fmt: skip
    bench.tell("3.16 values in a frame of ours, batched", median(mine, lambda one: one.values / one.frames), "")
    loads = [one.load_cores for some in windows.values() for one in some]
    bench.tell("3.16 load client, busiest window", max(loads), "cores", goal="<= 0.7")
