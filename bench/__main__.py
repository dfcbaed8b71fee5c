"""``python -m bench [NAME] [--json]``: run one benchmark, or all; the last line is one JSON object."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys

NAMES = ("ingest", "decide", "score", "select", "feed", "mail", "outbox", "poll", "residents", "alert")


def main() -> int:
    """Run benchmarks and print their figures."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help=f"one of {', '.join(NAMES)}; default: all")
    parser.add_argument("--json", action="store_true", help="print only one JSON object, on the last line")
    parser.add_argument("--repeat", type=int, default=5, help="rounds; the median is quoted")
    arguments = parser.parse_args()
    if arguments.name and arguments.name not in NAMES:
        print(
            f"bench: there is no benchmark {arguments.name!r}; choose from {', '.join(NAMES)}",
            file=sys.stderr,
        )
        return 2
    results = {}
    for name in [arguments.name] if arguments.name else NAMES:
        module = importlib.import_module(f"bench.{name}")
        if not arguments.json:
            print(f"{name}: {module.__doc__.strip().splitlines()[0]}", flush=True)
        results[name] = module.run(arguments.repeat)
        if not arguments.json:
            for key, value in results[name].items():
                print(f"  {key}: {value}")
    if not arguments.json:
        print(f"on {os.cpu_count()} cores, Python {platform.python_version()}; median of {arguments.repeat}")
    print(json.dumps(results[arguments.name] if arguments.name else results, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
