"""`python -m benchmarks`: all benchmarks that need no GPU, one table; `python -m benchmarks decoding cache`: these.

Every benchmark leaves a record in benchmarks/results/. A limit that is missed stands in the table; the exit code is 1
only where a benchmark broke.
"""

import argparse
import importlib
import sys
import time
import traceback

from benchmarks import harness

TOPICS = ("decoding", "extraction", "training", "cache", "memory", "online")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks that are named, all by default; 0, or 1 if one broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "topics", nargs="*", metavar="topic", help=f"any of {', '.join(TOPICS)}; default: all"
    )
    parser.add_argument("--small", action="store_true", help="in seconds, to try it; nothing is recorded")
    chosen = parser.parse_args(arguments)
    unknown = [topic for topic in chosen.topics if topic not in TOPICS]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}: choose from {', '.join(TOPICS)}")
    rows, broken = [], []
    for topic in chosen.topics or TOPICS:
        start = time.perf_counter()
        print(f"{topic} ...", end=" ", flush=True)
        try:
            found, raw = importlib.import_module(f"benchmarks.{topic}").measure(chosen.small)
            if not chosen.small:
                harness.save(topic, found, raw)
        except Exception:  # the others are still worth having
            traceback.print_exc()
            broken.append(topic)
        else:
            rows += found
            print(f"{time.perf_counter() - start:.0f} s", flush=True)
    print(f"\n{harness.table(rows)}")
    if broken:
        print(f"\nbroke, see above: {', '.join(broken)}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
