"""`./run guard`: print and draw how much of an attack is stopped, and how many people are refused.

    ./run guard [--quick]    --quick: two thresholds, and no picture

It needs half a minute to some minutes: the store's own script judges every message, in an
in-process server, by a clock that the replay turns.
"""

from __future__ import annotations

import sys
from pathlib import Path

from guard_replay.curve import draw
from guard_replay.replay import Outcome, replay
from guard_replay.traffic import HOUR_SECONDS, Attack

RECOMMENDED = 12
NUMBERS = (3, 6, 9, RECOMMENDED, 18, 24, 48, 96)
PICTURE = Path(__file__).parent.parent / "docs" / "sms-guard.svg"
FAST = Attack(begins=10 * HOUR_SECONDS, lasts=500)
SLOW = Attack(begins=8 * HOUR_SECONDS, lasts=6 * HOUR_SECONDS)
# Random numbers in the two countries where most people live: what prefixes cannot tell apart.
AT_HOME = Attack(
    begins=10 * HOUR_SECONDS, lasts=500, ranges=(("+417", 8, False), ("+4917", 8, False))
)
HEAD = f"{'':34}{'attack sent':>12}{'refused':>9}{'people refused':>16}{'of':>6}{'share':>8}"


def row(name: str, outcome: Outcome, *, of_day: bool = False) -> str:
    """Return a line of the table; people are those of the attack's hour, or of the day."""
    refused = outcome.people_refused if of_day else outcome.hour_refused
    sent = outcome.people_sent if of_day else outcome.hour_sent
    share = outcome.day_share if of_day else outcome.hour_share
    return (
        f"{name:34}{outcome.attack_sent:12}{outcome.attack_refused:9}{refused:16}"
        f"{refused + sent:6}{share:8.2%}"
    )


def main(arguments: list[str]) -> int:
    """Print the table and draw the picture; 1 if the recommended settings miss their promise."""
    is_quick = arguments == ["--quick"]
    if arguments and not is_quick:
        print("usage: ./run guard [--quick]", file=sys.stderr)
        return 2
    print("5,000 numbers in 500 s; people of the hour from their beginning.")
    print(HEAD)
    found: dict[int, Outcome] = {}
    for numbers in (6, RECOMMENDED) if is_quick else NUMBERS:
        found[numbers] = replay(FAST, numbers=numbers, hours=(9, 12))
        print(row(f"KEYTURN_SMS_GUARD_NUMBERS={numbers}", found[numbers]), flush=True)
    off = [("velocity", "off"), ("source", "off"), ("conversion", "off")]
    print(row("KEYTURN_SMS_GUARD=off", replay(FAST, levels=off, hours=(10, 11))), flush=True)
    if not is_quick:
        print("The recommended settings on other days; people of the whole replay.")
        print(HEAD)
        for name, outcome in (
            ("an ordinary day", replay(None)),
            ("the first day, without a past", replay(None, has_past=False)),
            ("the attack within six hours", replay(SLOW, hours=(8, 15))),
            ("random numbers at home", replay(AT_HOME, hours=(9, 12))),
        ):
            print(row(name, outcome, of_day=True), flush=True)
        PICTURE.write_text(draw(found, recommended=RECOMMENDED))
        print(f"Drawn: {PICTURE}")
    best = found[RECOMMENDED]
    is_kept = best.attack_sent <= 50 and best.hour_share <= 0.02  # noqa: PLR2004
    print("Kept: at most 50 sent, at most 2 % refused." if is_kept else "NOT KEPT.")
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
