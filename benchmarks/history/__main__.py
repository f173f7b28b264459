"""`make bench-history`: figures of the bar store, the backfill and how they grow, with peers in the same run.

Parts may be named (`store`, `backfill`, `growth`); then the figures are printed and not written to the results.
"""

import argparse
import os
import sys

from benchmarks.harness import Report
from benchmarks.servers import platform, running
from infrastructure.embedded import RedisServer
from infrastructure.embedded.ports import LOOPBACK, find_free


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parts = parser.parse_args().parts
    if unknown := set(parts) - {"store", "backfill", "growth"}:
        parser.error(f"there is no part {', '.join(unknown)}")
    report = Report("history")
    redis_port = find_free()
    os.environ["REDIS_URL"] = f"redis://{LOOPBACK}:{redis_port}"
    with platform() as folder, running(RedisServer(redis_port, folder / "redis").service()):
        from benchmarks.history import backfill, growth, store  # they need Django's settings

        for name, part in (("store", store.measure), ("backfill", backfill.measure), ("growth", growth.measure)):
            if not parts or name in parts:
                part(report, folder)
    return 0 if report.finish(write=not parts) else 1


if __name__ == "__main__":
    sys.exit(main())
