"""One job, whole: its file, its story, the end of its log. Must not change anything, nor wait."""

from __future__ import annotations

import os
import stat

import msgspec
from msgspec import Struct

from runner.core.model import Json, Status
from runner.errors import BadJobFile
from runner.store import codec
from runner.store.codec import SCHEMA, JobFile
from runner.store.folders import FolderStore
from runner.store.shelf import INBOX
from runner.views.journal import Story, story
from runner.views.log import LogTail, log_tail
from runner.views.reading import read_job, reason, resolve


class OutputLook(Struct, frozen=True, kw_only=True):
    """An output as it was recorded. `now`: whole (by its size), missing, other size, absent (as recorded)."""

    path: str
    bytes: int | None
    sha256: str | None
    now: str


class Shown(Struct, frozen=True, kw_only=True):
    """A job. `status`: its folder, or "inbox". `job` None: its file is no valid job, for the reason in `problem`."""

    id: str
    status: str
    path: str
    job: JobFile | None
    problem: str | None
    outputs: list[OutputLook]
    story: Story
    log: LogTail | None

    def document(self) -> dict[str, Json]:
        """As JSON has it; the job is there as it is in its file."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "status": self.status,
            "path": self.path,
            "problem": self.problem,
            "job": None if self.job is None else msgspec.Raw(codec.encode(self.job)),
            "outputs": self.outputs,
            "story": self.story.entries,
            "journals_unread": self.story.unread,
            "log": self.log,
        }


def show(store: FolderStore, text: str) -> Shown:
    """The job whose id is `text` or begins with it. Raises UsageError for none or several, NewerSchema."""
    id, status = resolve(store, text)
    job, problem = None, None
    where = INBOX if status is None else status.value
    try:
        if status is None:
            job = store.shelf.parse(store.shelf.load_name(INBOX, f"{id}.json"), id, INBOX)
        else:
            found = read_job(store, id, status)
            if found is None:
                problem = "it was moved away while it was looked at: ask again"
            else:
                job, status = found
                where = status.value
    except BadJobFile as error:
        problem = str(error)
    except OSError as error:
        problem = f"its file cannot be read: {error.strerror}"
    if status is Status.QUARANTINE:
        problem = reason(store, f"{id}.json") or problem
    return Shown(
        id=id,
        status=where,
        path=os.path.join(store.path, where, f"{id}.json"),
        job=job,
        problem=problem,
        outputs=[] if job is None else outputs(store, job),
        story=story(store, id, runs_of(job)),
        log=log_tail(store, id),
    )


def runs_of(job: JobFile | None) -> frozenset[str]:
    """The runs that a job's file tells of."""
    if job is None:
        return frozenset()
    records = [*job.attempts, job.result or {}]
    return frozenset(run for record in records if isinstance(run := record.get("run"), str))


def outputs(store: FolderStore, job: JobFile) -> list[OutputLook]:
    """The recorded outputs of a job, and how they are now."""
    recorded = (job.result or {}).get("outputs", {})
    return [
        OutputLook(
            path=path,
            bytes=made and made["bytes"],
            sha256=made and made["sha256"],
            now="absent" if made is None else _now(output_size(store, path), made["bytes"]),
        )
        for path, made in recorded.items()
    ]


def _now(size: int | None, recorded: int) -> str:
    if size is None:
        return "missing"
    return "whole" if size == recorded else "other size"


def output_size(store: FolderStore, path: str) -> int | None:
    """The bytes of a file in the project; None if there is none."""
    try:
        found = store.shelf.files.stat(store.shelf.root_fd, path, follow=True)
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
