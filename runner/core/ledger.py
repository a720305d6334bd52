"""What the engine knows of every job: its status, and for those it deals with, the rest.

A job that no event of this run has touched is a bare Status: a million done jobs cost a million names and no more. So
do pending ones that an earlier runner left, until they are taken over.
Who comes after a job is written down as well, and kept when that job is settled: it may be opened again, or bring
other bytes, and then they must hear of it. The ledger answers questions; it changes nothing by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from hashlib import sha256
from itertools import chain

import msgspec

from runner.core.model import BLOCKED, CANCELLED, HOPELESS, PENDING, QUARANTINE, Json, Limit, Proposal, Status, Stored

_canonical = msgspec.json.Encoder(order="sorted").encode
NO_LIMITS: Mapping[str, Limit] = {}


class Phase(IntEnum):
    """Where an unsettled job stands within its status. Numbers, as they index a list of counts at every step."""

    WAITING = 0  # for the jobs it comes after
    HELD = 1  # for somebody who makes its inputs
    DELAYED = 2  # for a time
    READY = 3  # for a worker
    BUSY = 4  # with a worker
    JUDGING = 5  # being compared with its record
    ASKING = 6  # being asked for its children
    PARKED = 7  # dropped by who found it: for somebody who names it
    SETTLED = 8  # nothing more to do in this run


WAITING, HELD, DELAYED, READY, BUSY, JUDGING, ASKING, PARKED, SETTLED = Phase


class Node:
    """A job that this run deals with. Changed by the engine alone."""

    __slots__ = (
        "after",
        "all_done",
        "blocker",
        "change",
        "depth",
        "distrusted",
        "finds",
        "fingerprint",
        "found_by",
        "heard",
        "id",
        "last_call",
        "limits",
        "not_before",
        "others",
        "phase",
        "priority",
        "proposed",
        "reached",
        "rejudge",
        "status",
        "submitted",
        "suspect",
        "unwanted",
    )

    def __init__(self, item: Proposal | Stored, status: Status, after: tuple[str, ...]) -> None:
        self.id = item.id
        self.status = status
        self.phase = WAITING
        self.after = after
        self.limits = item.limits or NO_LIMITS
        self.priority = item.priority
        self.all_done = item.all_done
        self.finds = item.finds
        self.submitted = item.submitted
        self.fingerprint: str | None = item.fingerprint  # None: only its status is known
        self.depth = item.depth
        self.found_by: str | None = item.found_by if type(item) is Proposal else None
        self.others = item.outputs[1:]  # the outputs that its id does not tell
        self.blocker = 0  # which of those it comes after was found hopeless last: the first to look at again
        self.not_before: float | None = None
        self.proposed = False  # somebody in this run said what it is to be
        self.reached = False  # it counts for this run's exit code
        self.rejudge = False  # it was proposed anew, or something it read was made anew, while a worker had it
        self.suspect = False  # a worker died that had it and others
        self.distrusted = False  # a person invalidated it while a worker had it
        self.heard = False  # it ran in this run, or was asked for its children
        self.change = ""  # what came of it in this run: new, changed, unchanged or absent
        self.unwanted = False  # a person cancelled it while a worker had it
        self.last_call = False  # nobody will make its inputs any more

    @property
    def open(self) -> bool:
        """Whether jobs that come after it have to wait."""
        return self.phase is not SETTLED


class Several:
    """For each name the names that were added to it: most often one, and then a list would cost more than all else."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[str, str | list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, name: str, other: str) -> None:
        held = self._of.get(name)
        if held is None:
            self._of[name] = other
        elif isinstance(held, list):
            held.append(other)
        else:
            self._of[name] = [held, other]

    def get(self, name: str) -> Sequence[str]:
        held = self._of.get(name)
        return () if held is None else held if isinstance(held, list) else (held,)

    def pop(self, name: str) -> Sequence[str]:
        held = self.get(name)
        self._of.pop(name, None)
        return held


class Ledger:
    """Every id with its status; nodes for those that matter now; who comes after whom; who owns which output."""

    def __init__(self) -> None:
        self._statuses: dict[str, Status] = {}  # of those that have no node
        self._nodes: dict[str, Node] = {}
        self._names: dict[str, None] = {}  # a set with an order
        self._owners: dict[str, str] = {}
        self._readers = Several()
        self.node = self._nodes.get
        self.revivable: set[str] = set()
        self.failed: frozenset[str] = frozenset()  # in this run, before it was interrupted
        self.left = 0  # how many pending jobs are known by their names only
        self._left_after: Mapping[str, tuple[str, ...]] = {}  # what those come after

    def load(
        self,
        statuses: Mapping[str, Status],
        owners: Mapping[str, str],
        revivable: Iterable[str],
        waiting: Mapping[str, tuple[str, ...]] = {},
    ) -> None:
        """Take over what recovery found."""
        self._statuses.update(statuses)
        self._names.update(dict.fromkeys([id[:-17] for id in statuses]))
        self._owners.update(owners)
        self.revivable.update(revivable)
        self.left += list(statuses.values()).count(PENDING)
        self._left_after = waiting
        for id, after in waiting.items():
            self._link(id, after, ())

    def note(self, id: str, status: Status) -> None:
        """A job that this run does not deal with has come to lie there."""
        self.forget(id)
        self._statuses[id] = status
        self.left += status is PENDING
        self._names[id[:-17]] = None

    def status(self, id: str) -> Status | None:
        node = self._nodes.get(id)
        return self._statuses.get(id) if node is None else node.status

    def __getitem__(self, id: str) -> Node:
        return self._nodes[id]

    def nodes(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def add(self, node: Node) -> None:
        """Write down a node, in place of what stood there."""
        old = self.node(node.id)
        self._nodes[node.id] = node
        if self._statuses.pop(node.id, None) is PENDING:
            self.left -= 1
        self._names[node.id[:-17]] = None
        if node.others:
            self.own(node, node.others)
        if node.after:
            self._link(node.id, node.after, old.after if old is not None else self._left_after.get(node.id, ()))

    def own(self, node: Node, others: tuple[str, ...]) -> None:
        """These are its outputs, besides the first."""
        node.others = others
        for path in others:
            self._owners[path] = node.id

    def come_after(self, node: Node, after: tuple[str, ...]) -> None:
        """What it comes after has changed."""
        self._link(node.id, after, node.after)
        node.after, node.blocker = after, 0

    def _link(self, id: str, after: tuple[str, ...], before: Collection[str]) -> None:
        if before:
            before = frozenset(before)
        for upstream in after:
            if upstream not in before:
                self._readers.add(upstream, id)

    @property
    def anybody_waits(self) -> bool:
        """Whether any job comes after another."""
        return bool(self._readers)

    def readers(self, id: str) -> Iterator[Node]:
        """The nodes that come after a job, or did once: some of them twice."""
        for reader in self._readers.get(id):
            node = self._nodes.get(reader)
            if node is not None:
                yield node

    def others_after(self, id: str, besides: Collection[str]) -> bool:
        """Whether any job may come after this one that is not among those, also of jobs known by name only."""
        return any(reader not in besides for reader in self._readers.get(id))

    def forget(self, id: str) -> None:
        """Its file left the status folders."""
        self._nodes.pop(id, None)
        if self._statuses.pop(id, None) is PENDING:
            self.left -= 1

    def is_open(self, id: str) -> bool:
        """Whether jobs that come after it have to wait."""
        node = self._nodes.get(id)
        return self._statuses.get(id) is PENDING if node is None else node.phase is not SETTLED

    def waits_for(self, id: str) -> tuple[str, ...]:
        """What a job comes after that may yet have to wait for it; nothing, if this run is not going to run it."""
        node = self._nodes.get(id)
        if node is None:
            left = self._left_after.get(id, ()) if self._statuses.get(id) is PENDING else ()
            return tuple(map(self.successor, left))
        return node.after if node.open or node.proposed or node.status is BLOCKED else ()

    def hopeless(self, node: Node) -> str | None:
        """One that the job comes after and that will not succeed: failed, blocked, cancelled, in quarantine, nowhere.

        It begins where it found one last: a job after a thousand failed ones hears of each that is tried again, and
        must not look through all of them each time.
        """
        after: tuple[str, ...] = node.after
        for index in chain(range(node.blocker, len(after)), range(node.blocker)):
            status = self.status(after[index])
            if status is None or status in HOPELESS:
                node.blocker = index
                return after[index]
        return None

    def owners(self, path: str) -> list[str]:
        """The jobs that have `path` as an Output, in whatever status, each of them once."""
        return self._with_output(path, f"-{output_hash(path)}")

    def rivals(self, item: Proposal) -> list[tuple[str, str]]:
        """Its outputs that other jobs have as well, in whatever status: output and job."""
        if not item.outputs:
            return []
        first, own = item.outputs[0], item.id[:-17]
        found = [(first, id) for id in self._with_output(first, item.id[-17:], besides=own)]
        for path in item.outputs[1:]:
            found += [(path, id) for id in self.owners(path) if id != item.id]
        return found

    def _with_output(self, path: str, ending: str, besides: str = "") -> list[str]:
        """An id ends in the hash of its job's first output, so names alone answer for those. `besides`: one of these
        that is not asked for.
        """
        nodes, statuses = self._nodes, self._statuses
        names = self._names
        found = [id for name in names if name != besides and ((id := name + ending) in nodes or id in statuses)]
        owner = self._owners.get(path)
        if owner is None or owner.endswith(ending):
            return found
        node = nodes.get(owner)
        if path in node.others if node is not None else owner in statuses:
            found.append(owner)
        return found

    def successor(self, id: str) -> str:
        """Who makes by now what a cancelled job was to make first; itself, if it is not cancelled, or nobody does.

        A done job's file names whom it came after when it was last bound, which may be nights ago.
        """
        if self.status(id) is CANCELLED:
            for other in self._with_output("", id[-17:], besides=id[:-17]):
                if self.status(other) not in (CANCELLED, QUARANTINE):
                    return other
        return id

    def maker(self, path: str) -> str | None:
        """The job to wait for when `path` is wanted: the owner that can make it, if there is one; else any."""
        found = None
        for id in self.owners(path):
            if self.status(id) not in (CANCELLED, QUARANTINE):
                return id
            found = id
        return found


def output_hash(path: str) -> str:
    """The 16 hex digits in the id of the job whose first Output is `path`."""
    return sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def nature_hash(task: str, params: Mapping[str, Json]) -> str:
    """The 16 hex digits in the id of a job that makes no file. `params`: Hints left out."""
    return sha256(_canonical([task, params])).hexdigest()[:16]
