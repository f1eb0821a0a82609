"""`python -m faults [--quick|--release|--long|--stops N|--fuzz]`: kill everything, lose nothing."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from faults.brokers import BROKERS
from faults.figures import print_verdict
from faults.plan import LONG, QUICK, RELEASE, stop_drill
from faults.processes import say
from faults.run import Run

FSYNC = {False: "always", True: "everysec"}


def main() -> int:
    """Run, judge, print; 0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="./run faults", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="2,000 resets, under a minute (default)")
    size.add_argument("--release", action="store_true", help="20,000 resets, about three minutes")
    size.add_argument("--long", action="store_true", help="50,000 resets")
    size.add_argument("--stops", type=int, metavar="N", help="SIGTERM N times, and nothing else")
    size.add_argument("--fuzz", action="store_true", help="random input to parsers, 20 s each")
    parser.add_argument("--resets", type=int, metavar="N", help="in place of the size's")
    parser.add_argument("--server", default="", help="a server's program; unset: the embedded one")
    parser.add_argument(
        "--topology",
        choices=("single", "cluster", "sentinel"),
        default="single",
        help="cluster: 3 primaries, 3 replicas; sentinel: a primary, a replica, 3 Sentinels",
    )
    parser.add_argument("--broker", choices=BROKERS, default="redis", help="what carries the hints")
    parser.add_argument("--everysec", action="store_true", help="the server with that appendfsync")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of all dice")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the run")
    chosen = parser.parse_args()
    plan = RELEASE if chosen.release else LONG if chosen.long else QUICK
    if chosen.stops:
        plan = stop_drill(chosen.stops)
    if chosen.resets:
        share = chosen.resets / plan.resets
        plan = replace(plan, resets=chosen.resets, seconds=plan.seconds * share)
    if chosen.topology == "cluster":
        plan = replace(plan, moves=plan.kills)
    folder = Path(tempfile.mkdtemp(prefix="keyturn-faults-"))
    if chosen.fuzz:
        return fuzz(folder, chosen.seed)
    say(f"{plan.name}, seed {chosen.seed}, in {folder}")
    server = [chosen.server] if chosen.server else []
    run = Run(
        folder,
        plan,
        server=server,
        seed=chosen.seed,
        fsync=FSYNC[chosen.everysec],
        topology=chosen.topology,
        broker=chosen.broker,
    )
    findings = run.carry_out()
    figures = {
        "run": plan.name,
        "topology": chosen.topology,
        "broker": chosen.broker,
        "seed": chosen.seed,
        **run.figures,
    }
    print_verdict(findings, figures, run.machine)
    is_kept = all(not finding.resets for finding in findings)
    if chosen.keep or not is_kept:
        say(f"everything of the run is in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if is_kept else 1


def fuzz(folder: Path, seed: int) -> int:
    """Run the fuzz targets; 0 if every parser only refused or took its input."""
    from faults.fuzz import run_all  # noqa: PLC0415  # atheris is there for --fuzz only

    say(f"fuzz, seed {seed}, in {folder}")
    if failed := run_all(folder, seed=seed):
        say(f"failed: {', '.join(failed)}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
