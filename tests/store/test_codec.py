"""Job files: what is written can be read, and nothing but a job file is taken for one."""

from __future__ import annotations

import json
import math
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.model import Proposal
from runner.errors import BadJobFile, NewerSchema
from runner.store import codec
from runner.store.codec import JobFile

ID = "FetchPage-3f2a9c0d11aa22bb"
OTHER = "CollectUrls-0d11aa22bb3f2a9c"
MINIMAL = {"id": ID, "task": "jobs.scrape:FetchPage", "params": {"url": "https://example.org/a"}}

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=5)
attempts = st.fixed_dictionaries(
    {"outcome": st.sampled_from(["done", "failed", "died"])},
    optional={"run": texts, "seconds": st.none() | st.floats(0, 1e6), "started": st.just("2026-11-22T02:00:00.5Z")},
)
jobs = st.builds(
    JobFile,
    id=st.just(ID),
    task=texts,
    params=objects,
    after=st.lists(st.just(OTHER), max_size=3).map(tuple),
    found_by=st.none() | texts,
    submitted=st.booleans(),
    depth=st.integers(0, 2000),
    not_before=st.none() | st.floats(0, 4e9).map(codec.stamp),
    attempts=st.lists(attempts, max_size=3),
    result=st.none() | st.fixed_dictionaries({"value": values, "outputs": st.just({"a": {"bytes": 1, "sha256": "0"}})}),
    extra=st.just(msgspec.UNSET) | st.fixed_dictionaries({"future": values}),
)


def file(**changes: object) -> bytes:
    return json.dumps({**MINIMAL, **changes}).encode()


@given(jobs)
def test_what_is_written_is_read_back(job: JobFile) -> None:
    data = codec.encode(job)
    assert codec.decode(data, ID) == job
    assert codec.encode(codec.decode(data, ID)) == data


@given(jobs)
def test_a_file_looks_as_json_tools_write_it(job: JobFile) -> None:
    text = codec.encode(job).decode()
    assert text.endswith("}\n")
    assert list(json.loads(text))[:3] == ["schema", "id", "task"]
    rewritten = json.dumps(json.loads(text)).encode()
    assert codec.decode(rewritten, ID) == job, "however it is indented and escaped"


def test_a_file_has_the_contract_s_keys_in_order() -> None:
    keys = list(json.loads(codec.encode(JobFile(id=ID, task="t", params={}))))
    assert keys == [
        *("schema", "id", "task", "params", "after", "found_by", "submitted", "depth"),
        *("not_before", "retries_from", "attempts", "result"),
    ]


@given(st.binary(max_size=200) | st.builds(lambda value: json.dumps(value).encode(), values))
def test_no_bytes_raise_anything_but_the_two_errors(data: bytes) -> None:
    for decode in (codec.decode, codec.decode_handed_in):
        with pytest.raises((BadJobFile, NewerSchema)):
            decode(data)


@settings(max_examples=300)
@given(jobs, st.data())
def test_a_damaged_file_raises_nothing_but_the_two_errors(job: JobFile, data: st.DataObject) -> None:
    whole = codec.encode(job)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 8)))
    damaged = whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:]
    with suppress(BadJobFile, NewerSchema):
        assert codec.encode(codec.decode(damaged))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated"),
        (file()[:-3], "truncated"),
        (b"[]", "not one object"),
        (b"null", "not one object"),
        (b"\xef\xbb\xbf" + file(), "byte order mark"),
        (file().decode().encode("utf-16"), "`$`"),
        (b'{"id": "%s", "task": "\xff", "params": {}}' % ID.encode(), "not UTF-8"),
        (b'{"id": "%s", "task": "t", "params": {}, "id": "%s"}' % (ID.encode(), ID.encode()), "'id' twice"),
        (b'{"id": "%s", "task": "t", "params": {"a": [{"b": 1, "b": 2}]}}' % ID.encode(), "'b' twice"),
        (b'{"id": "%s", "task": "t", "params": {"a": NaN}}' % ID.encode(), "`$`"),
        (b'{"id": "%s", "task": "t", "params": {"a": -Infinity}}' % ID.encode(), "`$`"),
        (b'{"id": "%s", "task": "t", "params": {"a": 1e999}}' % ID.encode(), "out of range"),
        (b'{"id": "%s", "task": "t", "params": {"a": %s}}' % (ID.encode(), b"9" * 5000), "out of range"),
        (b'{"id": "%s", "task": "t", "params": {"a": "\\ud800"}}' % ID.encode(), "`$`"),
        (b'{"id": "%s", "task": "t", "params": {"a": "\xed\xa0\x80"}}' % ID.encode(), "not UTF-8"),
        (b'{"id": "%s", "task": "t", "params": %s1%s}' % (ID.encode(), b'{"a":' * 99, b"}" * 99), "nested more"),
        (b'{"id": "%s", "task": "t", "params": %s' % (ID.encode(), b'{"a":' * 100_000), "nested more"),
        (b"[" * 100_000, "nested more"),
        (file() + b"x", "trailing"),
        (file(id="../../etc/passwd-3f2a9c0d11aa22bb"), "`$.id`"),
        (file(id="FetchPage-3f2a9c0d11aa22bb\n"), "`$.id`"),
        (file(id="FetchPage-3F2A9C0D11AA22BB"), "`$.id`"),
        (file(id="F" * 300 + "-3f2a9c0d11aa22bb"), "longer than"),
        (file(params=[]), "`$.params`"),
        (file(params=None), "`$.params`"),
        (file(after="x"), "`$.after`"),
        (file(after=[OTHER, "../x"]), "`$.after[1]`"),
        (file(depth=-1), "`$.depth`"),
        (file(depth=True), "`$.depth`"),
        (file(submitted=1), "`$.submitted`"),
        (file(not_before="tomorrow"), "`$.not_before`"),
        (file(not_before="2026-13-22T02:00:00Z"), "no time"),
        (file(retries_from=1), "`$.retries_from`"),
        (file(attempts=[{"outcome": "done"}, {"outcome": 5}]), "`$.attempts[1].outcome`"),
        (file(attempts=[{"outcome": "done", "error": "x"}]), "`$.attempts[0].error`"),
        (file(attempts=[{"outcome": "done", "started": "2026-11-22T02:00:00"}]), "`$.attempts[0].started`"),
        (file(result=[]), "`$.result`"),
        (file(result={"outputs": {"a": {"bytes": "12"}}}), "`$.result.outputs[...].bytes`"),
        (file(schema=0), "`$.schema`"),
        (file(schema="1"), "`$.schema`"),
        (file(schema=True), "`$.schema`"),
    ],
)
def test_what_is_no_job_file_is_refused_with_the_place(data: bytes, message: str) -> None:
    with pytest.raises(BadJobFile) as caught:
        codec.decode(data)
    assert message in str(caught.value)
    with pytest.raises(BadJobFile):
        codec.decode_handed_in(data)


def test_the_name_must_be_the_id() -> None:
    assert codec.decode(file(), ID).id == ID
    with pytest.raises(BadJobFile, match=r"`\$.id` is 'FetchPage-3f2a9c0d11aa22bb', but the file is named"):
        codec.decode(file(), OTHER)


def test_a_newer_schema_is_told_before_anything_else_is_judged() -> None:
    with pytest.raises(NewerSchema, match="schema 2"):
        codec.decode(file(schema=2, params="quite another form"))
    with pytest.raises(BadJobFile, match="schema 2"):
        codec.decode_handed_in(file(schema=2))


def test_unknown_fields_are_kept_at_the_end() -> None:
    job = codec.decode(file(zeta={"a": [1]}, alpha=2, **{"": 3}))
    assert job.extra == {"zeta": {"a": [1]}, "alpha": 2, "": 3}
    changed = msgspec.structs.replace(job, depth=4)
    assert list(json.loads(codec.encode(changed)))[-3:] == ["zeta", "alpha", ""]
    assert codec.decode(codec.encode(changed)) == changed


def test_unknown_fields_further_in_are_kept() -> None:
    data = file(attempts=[{"outcome": "done", "host": "a"}], result={"outputs": {}, "cpu": 1.5})
    again = codec.decode(codec.encode(codec.decode(data)))
    assert again.attempts[0]["host"] == "a"
    assert again.result is not None
    assert again.result["cpu"] == 1.5


def test_task_and_params_suffice_for_what_is_handed_in() -> None:
    job = codec.decode_handed_in(b'{"task": "jobs.scrape:FetchPage", "params": {"url": "x"}}')
    assert (job.id, job.task, job.params, job.attempts) == ("", "jobs.scrape:FetchPage", {"url": "x"}, [])
    assert codec.decode_handed_in(file()).id == ID
    with pytest.raises(BadJobFile, match=r"params"):
        codec.decode_handed_in(b'{"task": "jobs.scrape:FetchPage"}')
    with pytest.raises(BadJobFile, match=r"`\$.id`"):
        codec.decode_handed_in(file(id="../x"))


def test_what_could_not_be_read_back_is_not_written() -> None:
    deep: object = 1
    for _ in range(80):
        deep = [deep]
    with pytest.raises(BadJobFile, match="nested"):
        codec.encode(JobFile(id=ID, task="t", params={"a": deep}))
    with pytest.raises(BadJobFile, match="Unicode"):
        codec.encode(JobFile(id=ID, task="t", params={"a": "\ud800"}))


@given(st.floats(0, 4e9))
def test_a_stamp_keeps_the_microseconds(epoch: float) -> None:
    text = codec.stamp(epoch)
    assert len(text) == len("2026-11-22T02:00:00.123456Z")
    assert math.isclose(codec.parse_stamp(text), epoch, abs_tol=1e-6)


def test_stamps_of_others_are_understood() -> None:
    assert codec.stamp(1795312800.123456) == "2026-11-22T02:00:00.123456Z"
    assert codec.parse_stamp("2026-11-22T02:00:00Z") == 1795312800
    with pytest.raises(BadJobFile, match="no time"):
        codec.parse_stamp("soon")


@given(
    st.integers(0, 60),
    st.integers(0, 60),
    st.booleans(),
    st.booleans(),
)
def test_the_last_twenty_attempts_and_all_that_count_stay(count: int, start: int, add: bool, reset: bool) -> None:
    history = [{"outcome": "failed", "seconds": float(n)} for n in range(count)]
    job = JobFile(id=ID, task="t", params={}, attempts=history, retries_from=min(start, count))
    new = {"outcome": "died", "seconds": 99.0}
    got = codec.with_attempt(job, new if add else None, reset_retries=reset, now=2.0, retry_in=3.0)
    every = [*history, {**new, "retry_in": 3.0}] if add else history
    assert got.attempts == every[len(every) - len(got.attempts) :], "only old ones were dropped"
    counted = [] if reset else every[job.retries_from :]
    assert got.attempts[got.retries_from :] == counted
    assert len(got.attempts) == min(len(every), max(20, len(counted)))
    assert got.not_before == "1970-01-01T00:00:05.000000Z"


def test_nobody_waits_longer_than_he_was_put_off_for() -> None:
    job = codec.with_attempt(JobFile(id=ID, task="t", params={}), {"outcome": "failed"}, now=1000.0, retry_in=10.0)
    waits = {-90000.0: 10.0, 1000.0: 10.0, 1004.0: 6.0, 1010.0: 0.0, 90000.0: 0.0}
    assert {now: codec.delay(job, now) for now in waits} == waits
    assert codec.delay(codec.with_attempt(job, None), 0.0) is None
    assert codec.delay(msgspec.structs.replace(job, attempts=[]), 900.0) == 110.0, "an older file"


def proposal(**changes: object) -> Proposal:
    base = {"id": ID, "task": "t", "params": {"a": 1}, "fingerprint": "", "found_by": OTHER, "depth": 1}
    return msgspec.convert({**base, **changes}, Proposal)


def test_a_new_wish_replaces_all_that_a_proposal_says() -> None:
    job = msgspec.structs.replace(codec.new_file(proposal(), ()), attempts=[{"outcome": "done"}], result={"value": 1})
    assert codec.with_wish(job, proposal(), ()) is job
    for changes in ({"params": {"a": 2}, "found_by": ID, "depth": 2}, {"task": "u"}, {"submitted": True}):
        wished = codec.with_wish(job, proposal(**changes), ())
        assert {name: getattr(wished, name) for name in changes} == changes
        assert (wished.attempts, wished.result) == (job.attempts, job.result)
    assert codec.with_wish(job, proposal(), (OTHER,)).after == (OTHER,)


def test_who_of_several_finders_comes_first_says_nothing() -> None:
    job = codec.new_file(proposal(), ())
    assert codec.with_wish(job, proposal(found_by=ID, depth=3), ()) is job
    root = codec.new_file(proposal(found_by=None), ())
    assert codec.with_wish(root, proposal(), ()).found_by == OTHER


def test_the_order_of_those_it_comes_after_says_nothing() -> None:
    job = codec.new_file(proposal(), (OTHER, ID))
    assert codec.with_wish(job, proposal(), (ID, OTHER)) is job
    assert codec.with_wish(job, proposal(), (ID,)).after == (ID,)


def test_who_found_a_job_stays_known_when_it_is_a_root_as_well() -> None:
    job = codec.new_file(proposal(), ())
    assert codec.with_wish(job, proposal(found_by=None), ()) is job
    assert codec.with_wish(job, proposal(found_by=None, params={"a": 2}), ()).found_by == OTHER


def test_equal_is_not_the_same_json() -> None:
    job = codec.new_file(proposal(params={"a": 1}), ())
    assert type(codec.with_wish(job, proposal(params={"a": True}), ()).params["a"]) is bool
    assert type(codec.with_wish(job, proposal(params={"a": 1.0}), ()).params["a"]) is float


def test_what_was_submitted_stays_so() -> None:
    job = codec.new_file(proposal(submitted=True), ())
    assert codec.with_wish(job, proposal(submitted=False), ()) is job
    assert codec.with_wish(job, proposal(params={}), ()).submitted


@pytest.mark.parametrize("id", ["Größe-0123456789abcdef", "_A1-0123456789abcdef"])
def test_ids_follow_class_names(id: str) -> None:
    assert codec.is_id(id)


@pytest.mark.parametrize("id", ["", "a/b-0123456789abcdef", "A-0123456789abcde", "A-0123456789abcdef\n", "ü" * 99 + ID])
def test_what_is_no_id(id: str) -> None:
    assert not codec.is_id(id)


@pytest.mark.parametrize("schema", [b"0", b"-1", b'"1"', b"99"])
def test_what_is_handed_in_has_a_schema_that_is_known_or_none(schema: bytes) -> None:
    with pytest.raises(BadJobFile, match="schema"):
        codec.decode_handed_in(b'{"schema": %s, "task": "t", "params": {}}' % schema)


@pytest.mark.parametrize(
    ("text", "kept"), [("0001-01-01T00:00:00+23:59", "0001"), ("9999-12-31T23:59:59-23:59", "9999")]
)
def test_a_time_out_of_the_calendar_is_cut_to_it(text: str, kept: str) -> None:
    assert codec.stamp(codec.parse_stamp(text)).startswith(kept)


def test_a_time_may_end_in_a_small_z() -> None:
    assert codec.parse_stamp("2026-11-22t02:00:00z") == codec.parse_stamp("2026-11-22T02:00:00Z")
