"""`python -m benchmarks`: all benchmarks that need no GPU; `python -m benchmarks decoding cache`: only these.

Every benchmark writes a record to benchmarks/results/. The table shows missed limits; the exit code is 1 only
if a benchmark failed.
"""

import argparse
import importlib
import sys
import time
import traceback

from benchmarks import harness

TOPICS = ("decoding", "extraction", "training", "cache", "memory", "online")


def main(arguments: list[str] | None = None) -> int:
    """Run the named benchmarks, all by default; return 1 if one failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "topics", nargs="*", metavar="topic", help=f"any of {', '.join(TOPICS)}; default: all"
    )
    parser.add_argument("--small", action="store_true", help="a trial run of seconds; nothing is recorded")
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
        print(f"\nfailed, see above: {', '.join(broken)}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
