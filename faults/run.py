"""One run from the first process to the verdict."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from bench.machine import machine_facts
from faults.callers import Accepted, Callers
from faults.evidence import Evidence, read_ledger
from faults.figures import cpu_seconds, p99
from faults.judge import Finding, judge, unsent
from faults.mischief import Mischief
from faults.people import DOMAIN, Group, make_people
from faults.plan import Plan
from faults.planted import Planted
from faults.processes import say
from faults.records import Records
from faults.reports import Reporter
from faults.search import FLOWER_PAGES, Search
from faults.site import Site
from shared.codes import CodeBook
from shared.errors import StoreUnavailableError
from shared.store import keys

LOOK_EVERY_SECONDS = 0.25
CLAIMS_OF_POISON = 5
ODD = {Group.POISON, Group.STUBBORN}  # asked for first: their records are prepared
DRAIN_SLACK_SECONDS = 30.0
DOUBLED = "a message doubled"  # as faults/sqs.py prints it
SERVERS = ("server", "broker", "mapper")  # how what the others need until they end is called


class Run:
    """A plan carried out in a folder."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        *,
        server: Sequence[str],
        seed: int,
        fsync: str,
        topology: str,
        broker: str,
    ) -> None:
        """`server` is the command of the server; empty: the embedded one."""
        self.plan, self._seed = plan, seed
        self.site = Site(
            folder, plan, server=server, seed=seed, fsync=fsync, topology=topology, broker=broker
        )
        if not (self.site.servers and self.site.servers.hosts):
            self.plan = plan = replace(plan, partitions=())
        self.people = make_people(plan.resets, with_others=not plan.is_provider_calm)
        self._records = Records(self.site.client)
        self.figures: dict[str, Any] = {}
        self.machine: dict[str, str] = {}
        self._open = 0
        self._mischief: Mischief | None = None
        self._is_over = threading.Event()

    def carry_out(self) -> list[Finding]:
        """Everything; what is left in the end is the verdict."""
        began = time.monotonic()
        looking = threading.Thread(target=self._look)
        looking.start()
        try:
            self.site.open(self.people)
            say(f"started {time.monotonic() - began:.1f} s")
            reporter = self.site.open_reports()
            callers, mischief = self._make_trouble()
            drained = self._drain(reporter)
            evidence = mischief.insist(lambda: self._gather(callers, reporter))
            search = self._look_at_pages(evidence)
            mischief.insist(lambda: self._note(callers, mischief, evidence))
            self.figures |= self.site.servers.notes if self.site.servers else {}
            self.figures["reports posted"] = reporter.posts
            self.figures["reports posted again"] = reporter.posts_repeated
        finally:
            self._is_over.set()
            looking.join()
            exits = self.site.crew.exits()
            ended = self._end()
        say(f"drained in {drained:.1f} s, ended in {ended:.1f} s; searching")
        self._search(search)
        self.figures |= {
            "drained seconds": round(drained, 1),
            "unasked exits": exits,
            "looked through MB": {
                place: round(size / 1e6, 2) for place, size in sorted(search.looked_at.items())
            },
            "seconds": round(time.monotonic() - began, 1),
            "cpu seconds": cpu_seconds(),
        }
        found = tuple(f"{kind} in {place}" for kind, place in search.found.elements())
        return [*judge(evidence), Finding("secrets", "found where nobody may read them", found)]

    def _make_trouble(self) -> tuple[Callers, Mischief]:
        """Call, and break things meanwhile."""
        site = self.site
        total = len(self.people)
        callers = Callers(site.web_port, site.token, rate=self.plan.rate, must_wait=self._must_wait)
        odd = [person for person in self.people if person.group in ODD]
        callers.ask_for(odd)
        for number, call in enumerate(callers.accepted):
            self._prepare(call, number)
        site.open_workers()
        self._mischief = mischief = Mischief(
            site, self.plan, seed=self._seed, progress=lambda: callers.asked / total
        )
        breaking = threading.Thread(target=mischief.run)
        breaking.start()
        began = time.monotonic()
        callers.ask_for([person for person in self.people if person.group not in ODD])
        self.figures["asking seconds"] = round(time.monotonic() - began, 1)
        say(f"asked for {total} in {time.monotonic() - began:.1f} s")
        mischief.give_up()
        breaking.join()
        say("no more faults")
        return callers, mischief

    def _must_wait(self) -> bool:
        """True while callers are ahead: of the workers, or of what is to go wrong meanwhile."""
        is_behind = self._mischief is not None and self._mischief.is_behind
        return self._open > self.plan.max_open or is_behind

    def _prepare(self, call: Accepted, number: int) -> None:
        """A short life; or a record our code cannot work with: every other by its user."""
        client, record = self.site.client, keys.reset(call.reset_id)
        if call.person.group is Group.STUBBORN:
            life_ms = int(self.plan.short_life_seconds * 1000)
            deadline_ms = int(self.site.services.dues.now_ms()) + life_ms
            client.hset(record, mapping={"x": deadline_ms, "mg": life_ms // 3})
        elif number % 2:
            client.hset(keys.directory_user(call.person.user_id), "state", "corrupt")
        else:
            client.hset(record, "k", "corrupt")

    def _look(self) -> None:
        """Keep an eye on how many resets are open: callers wait when they are too many."""
        while not self._is_over.wait(LOOK_EVERY_SECONDS):
            with contextlib.suppress(redis.RedisError, StoreUnavailableError):
                self._open = self._records.open_resets()
                self.site.look_who_is_ready()

    def _drain(self, reporter: Reporter) -> float:
        """Wait until every report is applied and nothing is open but what is held in doubt."""
        plan, began = self.plan, time.monotonic()
        longest = max(CLAIMS_OF_POISON * plan.lease_seconds, plan.short_life_seconds)
        give_up_at = began + longest + plan.lease_seconds + DRAIN_SLACK_SECONDS
        while not self._is_drained() and time.monotonic() < give_up_at:
            time.sleep(LOOK_EVERY_SECONDS)
        reporter.finish()
        if self.site.servers:  # a busy machine fails over by itself, too
            self.site.servers.primaries()
        while not self._is_drained() and time.monotonic() < give_up_at:
            time.sleep(LOOK_EVERY_SECONDS)
        return time.monotonic() - began

    def _is_drained(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            records = self._records.load(sorted(self._records.due()))
            held = map(Evidence.is_held_record, records.values())
            return all(held) and not self._records.reports()
        return False

    def _gather(self, callers: Callers, reporter: Reporter) -> Evidence:
        callers.write(self.site.folder / "accepted.jsonl")
        records = self._records.load(self._records.ids())
        book = CodeBook((self.site.secrets["signing key"],))
        codes = {i: book.code(i, record["kid"]) for i, record in records.items()}
        return Evidence(
            lines=read_ledger(self.site.ledger),
            accepted=callers.accepted,
            refused=callers.refused,
            records=records,
            due=self._records.due(),
            may_double=not self.plan.is_provider_calm,
            told=frozenset(reporter.told),
            codes={i: code.formatted for i, code in codes.items()},
            secrets=frozenset(code.link_secret for code in codes.values()),
        )

    def _look_at_pages(self, evidence: Evidence) -> Search:
        """Flower and metrics, while they run."""
        site = self.site
        search = Search(
            Planted(
                domain=DOMAIN,
                numbers=[p.address for p in self.people if p.channel == "sms"],
                codes=evidence.secrets.union(evidence.codes.values()),
                words=site.secrets | {"token": site.token},
            ),
            flower_login=site.environ["KEYTURN_FLOWER_BASIC_AUTH"],
        )
        flower = f"http://127.0.0.1:{site.flower_port}"
        if site.settings.broker_kind.has_events:
            for path in FLOWER_PAGES:
                search.look_at_page(flower, path)
            search.look_at_tasks(flower)
            search.look_at_tasks(flower)
        search.look_at_page(f"http://127.0.0.1:{site.web_port}", "/metrics")
        return search

    def _search(self, search: Search) -> None:
        """Every file of the run but the ledger's own and the callers'."""
        for path in sorted(self.site.folder.rglob("*")):
            if path.suffix == ".aof":
                search.look_in_commands(path)
            elif path.is_file() and path.suffix != ".jsonl":
                search.look_in_file(path)

    def _end(self) -> float:
        """Stop everything; the server last, its snapshot without the directory's records."""
        site, began = self.site, time.monotonic()
        for name in [n for n in reversed(site.crew.members) if not n.startswith(SERVERS)]:
            site.crew.members[name].end()
        with contextlib.suppress(redis.RedisError):
            self._records.forget_people()
            if site.servers:
                site.servers.save()
        site.close()
        return time.monotonic() - began

    def _note(self, callers: Callers, mischief: Mischief, evidence: Evidence) -> None:
        doubled = [lines for lines in evidence.copies.values() if len(lines) > 1]
        by_provider = {
            name: sum(len(lines) - 1 for lines in doubled if lines[0].provider == name)
            for name in ("sendgrid", "twilio")
        }
        self.machine = machine_facts(self.site.client.info("server"))
        members = self.site.crew.members
        self.figures |= {
            "appendfsync": self.site.client.config_get("appendfsync")["appendfsync"],
            "asked for": len(self.people),
            "accepted": len(callers.accepted),
            "refused by rule": len(callers.refused),
            "calls repeated": dict(callers.retries),
            "accept p99 ms": p99([each.took_ms for each in callers.accepted]),
            "done": dict(mischief.done),
            "starts": {name: process.starts for name, process in members.items()},
            "slowest stop seconds": round(max(mischief.stop_seconds, default=0.0), 1),
            "messages": len(evidence.lines),
            "cut short or hung": sum(line.fault in {"cut", "hang"} for line in evidence.lines),
            "deaths in the call, or told later": sum(map(evidence.deaths, evidence.owed)),
            "duplicates": by_provider,
            "held in doubt": dict(
                Counter(c.person.channel for i, c in evidence.owed.items() if evidence.is_held(i))
            ),
            "of these never sent": sum(map(evidence.is_told_as_doubt, unsent(evidence))),
            "statuses": dict(evidence.statuses()),
        }
        if "broker" in members and "mapper" not in members:
            self.figures["hints doubled by SQS"] = members["broker"].log.read_text().count(DOUBLED)
