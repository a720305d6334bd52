"""Job files: JobFile <-> the bytes on disk, strictly, with the path of the fault in the message.

Whatever the bytes are, `decode` answers with a JobFile, BadJobFile or NewerSchema, never with another exception: a job
file is input from outside. Must not touch the disk, import a Task, or know what folder a file lies in.

Theory: a file that this program wrote is exactly what `encode` would write again. So one comparison proves at once
that it has no duplicate keys, no unknown fields and no odd numbers; only other files take the slow, thorough way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, NoReturn

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from runner.core.model import Json, Proposal
from runner.errors import BadJobFile, NewerSchema

SCHEMA = 1
MAX_DEPTH = 64  # of nested arrays and objects: what encode writes, every later reader can take, however deep its stack
MAX_ID_BYTES = 200  # a file name has 255, and .json, .reason.txt and a writer's token want their share
KEPT_ATTEMPTS = 20

ID_PATTERN = r"^\w+-[0-9a-f]{16}\Z"
_ID = re.compile(ID_PATTERN)
_FIRST, _LAST = -62135596800.0, 253402300799.0  # of the years 1 and 9999
_STAMP = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z\Z"
_TOO_DEEP = b"\n" + b"  " * (MAX_DEPTH + 1)

Id = Annotated[str, Meta(pattern=ID_PATTERN)]
Stamp = Annotated[str, Meta(pattern=_STAMP)]
Time = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0)]
Object = dict[str, Json]


class JobFile(Struct, kw_only=True, frozen=True):
    """What a job file holds, field by field, in the order of the file. Times are stamps (see `parse_stamp`)."""

    schema: int = SCHEMA
    id: Id
    task: str
    params: Object
    after: tuple[Id, ...] = ()
    found_by: str | None = None
    submitted: bool = False
    depth: Count = 0
    not_before: Stamp | None = None
    retries_from: Count = 0
    attempts: list[Object] = []
    result: Object | None = None
    extra: Object | UnsetType = field(default=UNSET, name="")
    """Unknown top-level keys, kept: written after the others, under their own names. UNSET: none."""


class _Failure(Struct):
    type: str | None = None
    message: str | None = None
    traceback: str | None = None


class _Attempt(Struct):
    outcome: str
    run: str | None = None
    started: Time | None = None
    seconds: float | None = None
    retry_in: float | None = None
    error: _Failure | None = None


class Digest(Struct, frozen=True):
    """How a job file records a file."""

    bytes: Count
    sha256: str


class Dropped(Struct, frozen=True):
    """Jobs that were found in earlier runs, and in this one no more."""

    run: str
    ids: tuple[Id, ...]


class Record(Struct, frozen=True, kw_only=True):
    """`result`, typed: a job's last success. What the record of another's making leaves out has its default here."""

    run: str | None = None
    version: Json = None
    checked_at: Time | None = None
    change: str | None = None
    told: str | None = None  # in reports, where that is another: absent as before is no change
    params: Object = {}
    hints: Object = {}
    inputs: dict[str, str | None] = {}
    outputs: dict[str, Digest | None] = {}  # None: it was absent
    wiring: str | None = None  # which field had which of the inputs
    found: tuple[Id, ...] = ()
    dropped: Dropped | None = None
    invalidated: Time | None = None  # a person does not trust it, since then
    value: Json = None

    def dropped_in(self, run: str | None) -> tuple[str, ...]:
        """The jobs that it found before this run, and in it no more."""
        return self.dropped.ids if self.dropped is not None and self.dropped.run == run else ()


class Brief(Struct, frozen=True, kw_only=True):
    """As much of a job file as a judgement needs: its wish, and its last success. Not to be written back."""

    schema: int = SCHEMA
    id: str
    task: str
    params: Object
    after: tuple[Id, ...] = ()
    found_by: str | None = None
    submitted: bool = False
    depth: Count = 0
    result: Record | None = None


class _Glimpse(Struct, frozen=True):
    """As much of an attempt as tells whether it counts."""

    outcome: str
    final: bool = False


class Glance(Struct, frozen=True, kw_only=True):
    """As much of a pending job's file as tells whether it can be left alone until its turn comes."""

    schema: int = SCHEMA
    id: str
    task: str
    after: tuple[Id, ...] = ()
    not_before: Stamp | None = None
    retries_from: Count = 0
    attempts: list[_Glimpse] = []


_FIELDS = tuple(f for f in JobFile.__struct_fields__ if f != "extra")
_decoder = msgspec.json.Decoder(JobFile)
_brief = msgspec.json.Decoder(Brief)
_glance = msgspec.json.Decoder(Glance)
_any = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()
_format = msgspec.json.format


def is_id(text: str) -> bool:
    """Whether `text` can be a job's id, and so, with `.json`, a file name inside the state folder."""
    if _ID.match(text) is None:
        return False
    return len(text) * 4 <= MAX_ID_BYTES or len(text.encode("utf-8", "replace")) <= MAX_ID_BYTES


def decode(data: bytes, name: str | None = None) -> JobFile:
    """The job in `data`, strictly; with `name`, its id must be that. The size is the caller's to limit.

    Raises BadJobFile (with the place of the fault), or NewerSchema for a schema that this version does not know.
    """
    try:
        job = _decoder.decode(data)
        ours = job.extra is UNSET and job.schema == SCHEMA and encode(job) == data
    except (ValueError, RecursionError, BadJobFile):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        ours = False
    if not ours:
        job = _decode_slowly(data)
    if name is not None and job.id != name:
        _bad("$.id", f"is {job.id!r}, but the file is named {name!r}")
    return _checked(job)


def skim(data: bytes, name: str) -> Brief | None:
    """A file of ours, at a third of the cost; None where only `decode` can tell what is wrong with it."""
    try:
        job = _brief.decode(data)
    except (ValueError, RecursionError):
        return None
    return job if job.id == name and job.schema == SCHEMA else None


def glance(data: bytes, name: str) -> Glance | None:
    """The same, at a tenth of the cost."""
    try:
        job = _glance.decode(data)
    except (ValueError, RecursionError):
        return None
    return job if job.id == name and job.schema == SCHEMA else None


def salvaged(data: bytes, name: str) -> JobFile | None:
    """What a damaged file still tells: its wish and its last success, if only the rest of it is at fault."""
    job = skim(data, name)
    if job is None:
        return None
    kept = {field: getattr(job, field) for field in Brief.__struct_fields__}
    try:
        return decode(encode(JobFile(**{**kept, "result": msgspec.to_builtins(job.result)})), name)
    except BadJobFile:
        return None


def brief(job: JobFile) -> Brief:
    """The same of a job that was read whole."""
    wish = {name: getattr(job, name) for name in Brief.__struct_fields__ if name != "result"}
    return Brief(**wish, result=record_of(job))


def record_of(job: JobFile) -> Record | None:
    """A job's last success; None: it had none."""
    return None if job.result is None else msgspec.convert(job.result, Record)


def decode_handed_in(data: bytes) -> JobFile:
    """What somebody else wrote: `task` and `params` suffice; without an `id` it is "". Raises BadJobFile only."""
    try:
        return decode(data)
    except NewerSchema as error:
        raise BadJobFile(str(error)) from None
    except BadJobFile:
        found = document(data)
        if "id" in found:
            raise
    check_schema(found)
    stand_in = "x-0123456789abcdef"
    job = _from_document({"id": stand_in, **found})
    return msgspec.structs.replace(_checked(job), id="")


def _decode_slowly(data: bytes) -> JobFile:
    found = document(data)
    check_schema(found)
    return _from_document(found)


def check_schema(document: Object) -> None:
    """NewerSchema if it was written by a newer version, BadJobFile if its schema number is none."""
    schema = document.get("schema", SCHEMA)
    if type(schema) is not int or schema < 1:
        _bad("$.schema", f"{schema!r} is no schema number")
    if schema > SCHEMA:
        raise NewerSchema(f"schema {schema} was written by a newer version; this one knows {SCHEMA}: upgrade it")


def document(data: bytes) -> Object:
    """The one JSON object that `data` is, with nothing ambiguous in it. Raises BadJobFile."""
    import json  # here: of files that this program wrote nobody asks it

    if data[:3] == b"\xef\xbb\xbf":
        _bad("$", "starts with a byte order mark")
    try:
        data.decode()
        found = _any.decode(data)
        too_deep = _TOO_DEEP in _format(data, indent=2)
        json.loads(data, object_pairs_hook=_no_duplicates)
    except RecursionError:
        too_deep = True
    except UnicodeDecodeError as error:
        _bad("$", f"is not UTF-8: byte {error.start} {error.reason}")
    except ValueError as error:
        _bad("$", str(error))
    if too_deep:
        _bad("$", f"is nested more than {MAX_DEPTH} deep")
    if not isinstance(found, dict):
        _bad("$", f"is {type(found).__name__}, not one object")
    return found


def _no_duplicates(pairs: list[tuple[str, Json]]) -> Object:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"has the key {next(k for k in keys if keys.count(k) > 1)!r} twice in one object")
    return found


def _from_document(document: Object) -> JobFile:
    extra = {key: value for key, value in document.items() if key not in _FIELDS}
    try:
        job = msgspec.convert({key: document[key] for key in _FIELDS if key in document}, JobFile)
    except msgspec.ValidationError as error:
        raise BadJobFile(_with_path(error, "$")) from None
    return msgspec.structs.replace(job, extra=extra) if extra else job


def _checked(job: JobFile) -> JobFile:
    """What the types alone do not say."""
    if len(job.id) * 4 > MAX_ID_BYTES and not is_id(job.id):
        _bad("$.id", f"is longer than {MAX_ID_BYTES} bytes")
    if job.retries_from > len(job.attempts):
        _bad("$.retries_from", f"is {job.retries_from}, with {len(job.attempts)} attempts")
    if job.not_before is not None:
        parse_stamp(job.not_before)
    where = "$.attempts"
    try:
        if job.attempts:
            msgspec.convert(job.attempts, list[_Attempt])
        where = "$.result"
        if job.result is not None:
            msgspec.convert(job.result, Record)
    except msgspec.ValidationError as error:
        raise BadJobFile(_with_path(error, where)) from None
    return job


def _with_path(error: msgspec.ValidationError, where: str) -> str:
    what, at, path = str(error).rpartition(" - at `$")
    return f"`{where}{path.rstrip('`')}`: {what}" if at else f"`{where}`: {error}"


def _bad(where: str, what: str) -> NoReturn:
    raise BadJobFile(f"`{where}` {what}")


def encode(job: JobFile) -> bytes:
    """The file's bytes: JSON with an indent of 2, a newline at its end, the contract's order of keys.

    Raises BadJobFile for what could not be read back (lone surrogates, too deep), TypeError for what is not JSON.
    The caller keeps NaN and infinity out: they would become null.
    """
    try:
        if job.extra is UNSET:
            data = _format(_encoder.encode(job), indent=2) + b"\n"
        else:
            document = {key: getattr(job, key) for key in _FIELDS}
            document.update((key, value) for key, value in job.extra.items() if key not in document)
            data = _format(_encoder.encode(document), indent=2) + b"\n"
    except UnicodeEncodeError as error:
        raise BadJobFile(f"{job.id}: holds text that is not valid Unicode: {error.object!r}") from None
    except RecursionError:
        data = _TOO_DEEP
    if _TOO_DEEP in data:
        raise BadJobFile(f"{job.id}: is nested more than {MAX_DEPTH} deep")
    return data


def new_file(proposal: Proposal, after: Sequence[str]) -> JobFile:
    """A new job, as it was proposed, with its upstream jobs complete."""
    return JobFile(
        id=proposal.id,
        task=proposal.task,
        params=proposal.params,
        after=tuple(after),
        found_by=proposal.found_by,
        submitted=proposal.submitted,
        depth=proposal.depth,
    )


def with_wish(job: JobFile, proposal: Proposal, after: Sequence[str]) -> JobFile:
    """The job with its newest wish: all that a proposal says. The very same object if it says nothing new."""
    after = tuple(after)
    if says_nothing_new(job, proposal, after):
        return job
    return msgspec.structs.replace(
        job,
        task=proposal.task,
        params=proposal.params,
        after=after,
        found_by=proposal.found_by or job.found_by,
        submitted=job.submitted or proposal.submitted,  # what a person handed in stays so, whoever finds it later
        depth=proposal.depth,
    )


def says_nothing_new(job: JobFile | Brief, proposal: Proposal, after: tuple[str, ...]) -> bool:
    """Whether the job's wish is what the proposal says.

    Who of several finders comes first, and so how deep the job lies, is chance, and so is the order of `after`.
    """
    return (
        same(job.params, proposal.params)
        and (job.after == after or set(job.after) == set(after))
        and (job.found_by is not None or proposal.found_by is None)
        and job.task == proposal.task
        and job.submitted >= proposal.submitted
    )


def same(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are equal, and are not."""
    if one != other:
        return False
    if type(one) is dict:
        for value in one.values():
            if type(value) is not str:
                break
        else:
            return True
    return _encoder.encode(one) == _encoder.encode(other)


def with_found(job: JobFile, found: Sequence[str], dropped: Sequence[str], run: str) -> JobFile:
    """A done job whose record names these as found, and says whom it dropped in this run."""
    result = {**(job.result or {}), "found": list(found)}
    result.pop("dropped", None)
    if dropped:
        result["dropped"] = {"run": run, "ids": list(dropped)}
    return msgspec.structs.replace(job, result=result)


def with_wish_of(job: JobFile, newer: JobFile) -> JobFile:
    """`job`, its history and its result, with the wish of `newer`."""
    return msgspec.structs.replace(
        job,
        task=newer.task,
        params=newer.params,
        after=newer.after,
        found_by=newer.found_by,
        submitted=newer.submitted,
        depth=newer.depth,
    )


def with_attempt(
    job: JobFile,
    attempt: Mapping[str, Json] | None,
    *,
    now: float = 0.0,
    retry_in: float | None = None,
    reset_retries: bool = False,
) -> JobFile:
    """`job` with one more attempt, the next `retry_in` seconds after `now`; old ones that count no more are trimmed.

    The last 20 stay, and all that count as retries; `reset_retries`: none does from here on.
    """
    again = {} if retry_in is None else {"retry_in": retry_in}
    attempts = [*job.attempts, {**attempt, **again}] if attempt is not None else job.attempts
    retries_from = len(attempts) if reset_retries else job.retries_from
    surplus = min(len(attempts) - KEPT_ATTEMPTS, retries_from)
    if surplus > 0:
        attempts = attempts[surplus:]
        retries_from -= surplus
    return msgspec.structs.replace(
        job,
        not_before=None if retry_in is None else stamp(now + retry_in),
        retries_from=retries_from,
        attempts=attempts,
    )


def delay(job: JobFile, now: float) -> float | None:
    """Seconds that a job still has to wait: never longer than it was put off for, wherever the clock was put since."""
    if job.not_before is None:
        return None
    put_off = job.attempts[-1].get("retry_in") if job.attempts else None
    left = max(0.0, parse_stamp(job.not_before) - now)
    return left if put_off is None else min(left, put_off)


def stamp(epoch: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC: "2026-11-22T02:00:00.123456Z". Kept within the calendar."""
    micros = round(min(max(epoch, _FIRST), _LAST) * 1e6)
    return f"{_second(micros // 1_000_000)}.{micros % 1_000_000:06}Z"


@lru_cache(16)
def _second(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat()[:-6]


def parse_stamp(text: str) -> float:
    """Seconds since the epoch. Raises BadJobFile."""
    try:
        return datetime.fromisoformat(text.upper()).timestamp()  # RFC 3339 has a z as well
    except ValueError:
        raise BadJobFile(f"{text!r} is no time such as 2026-11-22T02:00:00.123456Z") from None
