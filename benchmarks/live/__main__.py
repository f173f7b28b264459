"""`make bench-live`: figures 3.14–3.22 of the live path, each beside its peers. Linux, with a C compiler and Node.

`python -m benchmarks.live 3.14 3.19` measures only those, and leaves the file of results alone; `… soak` is 3.23, which
takes an hour.
"""

import signal
import sys
from collections.abc import Callable

from benchmarks.harness import Report
from benchmarks.live import soak
from benchmarks.servers import platform

SYMBOLS = 200


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through every `with`, so that nothing is left running
    if sys.argv[1:2] == ["soak"]:
        sys.exit(not soak.main(sys.argv[2:]))
    wanted = set(sys.argv[1:])
    with platform() as folder:
        # Django is set up only now, and all of these need it.
        from benchmarks.live import crowds, decode, fan_out, upstream
        from benchmarks.live.bench import Bench
        from benchmarks.live.feed import symbol
        from benchmarks.live.load import build
        from marketdata.models import Symbol

        figures: dict[str, Callable[[Bench], None]] = {
            "3.14": fan_out.thousand_browsers,
            "3.15": fan_out.channel_layers,
            "3.16": fan_out.tuned_peers,
            "3.17": crowds.five_thousand,
            "3.18": crowds.slow_readers,
            "3.19": crowds.storm,
            "3.20": crowds.memory,
            "3.21": upstream.from_the_source,
            "3.22": decode.decode,
        }
        if unknown := wanted - figures.keys():
            sys.exit(f"There is no figure {', '.join(unknown)}: {', '.join(figures)}.")
        Symbol.objects.bulk_create(Symbol(key=symbol(number)) for number in range(SYMBOLS))
        report = Report("live")
        (folder / "logs").mkdir()
        bench = Bench(build(folder), folder / "logs", report)
        for name, measure in figures.items():
            if not wanted or name in wanted:
                measure(bench)
        sys.exit(not report.finish(write=not wanted))


if __name__ == "__main__":
    main()
