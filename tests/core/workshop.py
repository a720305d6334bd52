"""What workers do with their jobs: the tasks themselves, played, and their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from runner.core import policy
from runner.core.events import Failed, Finished, Lacked
from runner.core.model import Proposal, Status
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.memory import MemoryStore
from tests.core.kinds import Kind, digest

RETRIES = 2


def failures(job: JobFile) -> int:
    """How many of its retries a job has used up."""
    return sum(attempt["outcome"] in policy.CHARGED for attempt in job.attempts[job.retries_from :])


def is_final(job: JobFile) -> bool:
    """Whether it has said that trying again cannot help."""
    return any(attempt.get("final") for attempt in job.attempts[job.retries_from :])


def dropped(result: Mapping[str, Any], run: str, found: Iterable[str]) -> tuple[str, ...]:
    """Whom a job had found when this run began, and finds no more."""
    left = result.get("dropped", {})
    before = [*result.get("found", ()), *(left["ids"] if left.get("run") == run else ())]
    return tuple(dict.fromkeys(id for id in before if id not in set(found)))


class Workshop:
    """The outputs of a job are made of its inputs, its parameter, and a grain of salt that `changed` adds to."""

    def __init__(self, store: MemoryStore, kinds: Mapping[str, Kind]) -> None:
        self.store = store
        self.kinds = kinds
        self.salt: Counter[str] = Counter()

    def run(self, job: JobFile, outcome: str, children: Callable[[], list[Proposal]]) -> Finished | Failed | Lacked:
        """An attempt at a job: same, changed, absent, failed, later or hopeless. `children`: what it finds."""
        kind, outputs = self.kinds[job.id], self.store.outputs
        gone = [path for path in job.params["inputs"] if path not in outputs and path not in kind.optional]
        absent = {path for path in gone if self._is_recorded_absent(job, path)}
        if set(gone) - absent:
            return Lacked(job.id, tuple(sorted(set(gone) - absent)))
        if outcome in ("failed", "later", "hopeless"):
            return self._fail(job, outcome)
        if absent:
            outcome = "absent"
        if outcome == "changed":
            self.salt[job.id] += 1
        inputs = {path: digest(outputs[path]) for path in job.params["inputs"] if path in outputs}
        made: dict[str, bytes | None] = dict.fromkeys(kind.outputs)
        if outcome != "absent":
            data = f"{job.id} {job.params['variant']} {self.salt[job.id]} {sorted(inputs.items())}"
            made = {path: f"{path} {data}".encode() for path in kind.outputs}
        deliver = []
        for path, content in made.items():
            if content is not None and outputs.get(path) != content:
                outputs[f".{path}"] = content
                deliver.append((f".{path}", path))
        found = None
        if kind.finds and outcome != "absent":
            for staging, final in deliver:  # its children may be read from them
                outputs[final] = outputs.pop(staging)
            deliver = []
            found = children()
        result = {
            "run": self.store.run,
            "version": 1,
            "change": "absent" if outcome == "absent" else "changed",
            "params": {"variant": job.params["variant"]},
            "inputs": inputs,
            "outputs": {path: c and {"bytes": len(c), "sha256": digest(c)} for path, c in made.items()},
        }
        last = job.result or {}
        stay = tuple(last.get("found", ())) if outcome == "absent" else ()
        now = stay or tuple(child.id for child in found or ())
        left = dropped(last, self.store.run, now)
        result |= {"found": list(now)} | ({"dropped": {"run": self.store.run, "ids": list(left)}} if left else {})
        record = replace(codec.with_attempt(job, self._note("done")), result=result)
        return Finished(
            id=job.id,
            record=self.store.stage(job.id, codec.encode(record)),
            deliver=tuple(deliver),
            trash=tuple(path for path in made if path in outputs) if outcome == "absent" else (),
            children=found,
            found=stay,
            dropped=left,
            change=str(result["change"]),
        )

    def _is_recorded_absent(self, job: JobFile, path: str) -> bool:
        records = (self.store.folders[Status.DONE].get(upstream) for upstream in job.after)
        return any(path in r.result["outputs"] and r.result["outputs"][path] is None for r in records if r and r.result)

    def _fail(self, job: JobFile, outcome: str) -> Failed:
        if outcome == "later":
            wait, note = 5.0, self._note("later")
        else:
            lasting = None if outcome == "hopeless" else policy.retry_in(job.id, 1 + failures(job), RETRIES, 1.0)
            wait, note = lasting, self._note("failed") | ({"final": True} if outcome == "hopeless" else {})
        record = codec.with_attempt(job, note, now=self.store.clock(), retry_in=wait)
        return Failed(id=job.id, record=self.store.stage(job.id, codec.encode(record)), retry_in=wait)

    def _note(self, outcome: str) -> dict[str, Any]:
        return {"run": self.store.run, "started": codec.stamp(self.store.clock()), "seconds": 0.0, "outcome": outcome}
