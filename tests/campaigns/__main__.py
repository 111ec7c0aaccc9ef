"""Command line of the campaigns; the package's docstring has the commands."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from . import flips, full_disk, kills, mutations


def main() -> int:
    """Run one campaign and print what came of it; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns", description="Disturb a run many times."
    )
    commands = parser.add_subparsers(dest="name", required=True)
    for module, count in ((kills, 100), (mutations, 10_000), (flips, 1_000)):
        name = module.__name__.rpartition(".")[2]
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0])
        command.add_argument("--count", type=int, default=count)
        command.add_argument("--seed", type=int, default=0)
    command = commands.add_parser("full_disk", help=full_disk.__doc__.splitlines()[0])
    command.add_argument(
        "--step", type=int, default=4096, help="bytes that each trial has more than the one before"
    )
    given = vars(parser.parse_args())
    campaign = {"kills": kills, "mutations": mutations, "flips": flips, "full_disk": full_disk}[
        given.pop("name")
    ]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        counted, wrong = campaign.run(Path(folder), **given)
    print(json.dumps(counted | {"wrong": len(wrong), "seconds": round(time.monotonic() - start)}))
    print(*wrong, sep="\n", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
