"""Whom resets are asked for: most are good, some must get nothing, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

DOMAIN = "planted.example"
ORG = "faults"
SMS_SHARE = 0.4
# Swiss mobile numbers; the provider stub knows the kinds by their beginning.
PREFIXES = {"good": "+4179", "refused": "+4178", "stubborn": "+4177"}


class Group(StrEnum):
    """What has to become of a reset."""

    GOOD = "good"  # reaches the provider
    REFUSED = "refused"  # the provider refuses it for good: failed
    STUBBORN = "stubborn"  # the provider refuses until it is too late: expired, never sent
    UNASKABLE = "unaskable"  # our own rules refuse the call
    POISON = "poison"  # a record our code cannot work with: failed, and costs nobody else


@dataclass(frozen=True, slots=True)
class Person:
    """One user, asked for once."""

    number: int
    group: Group
    channel: str

    @property
    def user_id(self) -> str:
        return f"p{self.number}"

    @property
    def address(self) -> str:
        """Where the message has to go."""
        if self.channel == "sms":
            prefix = PREFIXES.get(self.group.value, PREFIXES["good"])
            return f"{prefix}{self.number:07}"
        return f"{self.group.value}.{self.number}@{DOMAIN}"

    def line(self) -> dict[str, object]:
        """As `keyturn user import` reads it."""
        address = "phone" if self.channel == "sms" else "email"
        facts: dict[str, object] = {
            "userId": self.user_id,
            "orgId": ORG,
            "displayName": f"Person {self.number}",
            address: self.address,
            f"{address}Verified": self.group is not Group.UNASKABLE,
        }
        return facts


def make_people(good: int, *, with_others: bool = True) -> list[Person]:
    """`good` good ones, and beside them a few of each other group."""
    if not with_others:
        return [
            Person(n, Group.GOOD, "sms" if _is_sms(Group.GOOD, n) else "email") for n in range(good)
        ]
    few = max(4, good // 400)
    return list(_number(_groups(good, few)))


def _groups(good: int, few: int) -> Iterator[tuple[Group, str]]:
    for group, number in (
        (Group.POISON, 4),
        (Group.STUBBORN, 4),
        (Group.REFUSED, 2 * few),
        (Group.UNASKABLE, few),
        (Group.GOOD, good),
    ):
        for n in range(number):
            yield group, "sms" if _is_sms(group, n) else "email"


def _is_sms(group: Group, n: int) -> bool:
    """The stubborn are to run out of time soon, poison is not."""
    if group in {Group.STUBBORN, Group.POISON}:
        return group is Group.STUBBORN
    return (n * SMS_SHARE) % 1 < SMS_SHARE - 1e-9


def _number(kinds: Iterator[tuple[Group, str]]) -> Iterator[Person]:
    for number, (group, channel) in enumerate(kinds):
        yield Person(number, group, channel)
