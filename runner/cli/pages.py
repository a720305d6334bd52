"""What the look verbs say to people: the views' structs as lines of text. Must not look at a state folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from runner.cli.paper import Mark, Paper, status_mark
from runner.words import counted, moment, rate, shorten, span

if TYPE_CHECKING:  # each verb imports the one view that it needs
    from runner.core.trace import Difference
    from runner.plan import Plan, PlannedJob
    from runner.views.changes import Changes
    from runner.views.check import Report
    from runner.views.examine import Finding
    from runner.views.explain import Explained, Held, Upstream
    from runner.views.listing import Row
    from runner.views.show import Shown
    from runner.views.status import RunState, State

_AT_ONCE = 10  # warnings or changed jobs of one kind that are shown
_KINDS = ("new", "changed", "unchanged", "absent", "gone", "failed", "blocked")
_HOLDERS = 5
_LEAST_ROOM = 24  # columns; what is said about a job goes on a line of its own if it has less


def print_state(out: Paper, state: State, command: Callable[..., str]) -> None:
    moving = ", counted while they moved: a few may be missing" if state.moving else ""
    out.say(f"{counted(state.total, 'job')} in {state.state}{moving}")
    if state.total:
        shown = [name for name, count in state.statuses.items() if count]
        rows = [
            [task, *(f"{counts[name]:,}" if name in counts else "" for name in shown), f"{sum(counts.values()):,}"]
            for task, counts in state.tasks.items()
        ]
        if len(rows) > 1:
            rows.append(["total", *(f"{state.statuses[name]:,}" for name in shown), f"{state.total:,}"])
        out.say()
        out.table(["", *shown, "total"], rows)
    out.say()
    if state.runner is not None and (state.run is None or state.run.how != "live"):
        doing = state.runner.verb or "has just started"
        out.say(f"a runner is alive: pid {state.runner.pid} on {state.runner.host} ({doing})")
    if state.run is not None:
        _print_run(out, state, state.run)
    elif state.runner is None and state.problem is None:
        out.say("no run yet")
    if state.problem:
        out.say(Mark("problem: ", "red"), state.problem)
    if state.inbox:
        out.say(f"inbox: {counted(state.inbox, 'file')} to be taken up")
    if state.quarantine:
        out.say(
            Mark("quarantine: ", "red"),
            f"{counted(state.quarantine, 'file')}; see NAME.reason.txt in quarantine/",
        )
    if state.next:
        out.say("next: ", Mark(command(*state.next), "bold"))
        if state.next[0] == "list":
            retry = ["--failed"] if state.statuses["failed"] else ["ID"]
            out.say("then: ", command("retry", *retry))


_HOW = {
    "done": "ended {ended}: all that it was asked for is done",
    "failed": "ended {ended}: some jobs failed or are blocked",
    "unusable": "ended {ended}: its target could not be used, or who was to work on it",
    "stopped": "stopped in good order, with work left",
    "interrupted": "was interrupted: its process is gone",
    "taken over": "was taken over by a later run",
}


def _print_run(out: Paper, state: State, run: RunState) -> None:
    out.say(f"run {run.id}" + (f" of {run.target}" if run.target else ""))
    if run.how == "live":
        assert state.runner is not None
        where = "" if state.runner.host == os.uname().nodename else f" on {state.runner.host}"
        out.say("  ", Mark("alive", "green"), f": pid {state.runner.pid}{where}, since {moment(run.start)}")
    else:
        out.say("  ", _HOW[run.how].format(ended=moment(run.ended or "")))
    parts = [f"{counted(run.finished, 'job')} finished"]
    if run.rate:
        parts.append(rate(run.rate))
    if run.seconds_left:
        parts.append(f"about {span(run.seconds_left)} left")
    out.say("  ", ", ".join(parts))


def print_row(out: Paper, row: Row) -> None:
    """One line for a job; on a narrow terminal, what matters about it on the next. An id is never cut."""
    why, lead = "  ".join(part for part in (row.why, f"({row.brief})" if row.brief else "") if part), "  "
    if out.cut is not None and why:
        room = out.cut - len(row.status.ljust(9)) - len(row.id) - 4
        if room < _LEAST_ROOM:
            lead, room = "\n    ", out.cut - 4
        why = shorten(why, room)
    out.say(status_mark(row.status, 9), "  ", row.id, lead + why if why else "")


def print_shown(out: Paper, shown: Shown) -> None:
    out.say(Mark(shown.id, "bold"), "  ", status_mark(shown.status))
    fields: list[tuple[str, str]] = [("file", shown.path)]
    if shown.problem:
        fields.append(("problem", shown.problem))
    if shown.job is not None:
        fields += _facts(shown)
    for name, text in fields:
        lines = text.split("\n")
        out.say(f"  {name:<10}  {lines[0]}")
        for line in lines[1:]:
            out.say(f"  {'':<10}  {line}")
    if shown.story.entries:
        out.say("story")
        for entry in shown.story.entries:
            why = f"  {shorten(entry.why, 200)}" if entry.why else ""
            out.say(f"  {moment(entry.at)}  {entry.source} > {entry.target} ({entry.step}){why}")
    if shown.story.unread:
        out.say(f"  ({shown.story.unread:,} older journals were not searched)")
    if shown.log is not None:
        out.say(f"log {shown.log.path} ({counted(shown.log.bytes, 'byte')}), its end")
        for line in shown.log.lines:
            out.say(f"  {line}")


def _facts(shown: Shown) -> list[tuple[str, str]]:
    job = shown.job
    assert job is not None
    facts = [("task", job.task)]
    facts += [("params" if n == 0 else "", f"{key} = {_text(job.params[key])}") for n, key in enumerate(job.params)]
    facts += [("after" if n == 0 else "", id) for n, id in enumerate(job.after)]
    origin = job.found_by or ("handed in" if job.submitted else "a run's target")
    facts.append(("found by", origin))
    if job.not_before:
        facts.append(("not before", moment(job.not_before)))
    result = job.result
    if result is not None:
        made = f"{result.get('change') or 'made'} in run {result.get('run')}, version {_text(result.get('version'))}"
        facts.append(("last made", made))
        for n, output in enumerate(shown.outputs):
            size = "" if output.bytes is None else f"{counted(output.bytes, 'byte')}, "
            facts.append(("outputs" if n == 0 else "", f"{output.path} ({size}{output.now})"))
        found = result.get("found", [])
        facts += [("has found" if n == 0 else "", id) for n, id in enumerate(found[:20])]
        if len(found) > 20:
            facts.append(("", f"and {len(found) - 20:,} more (--json)"))
        if result.get("value") is not None:
            facts.append(("value", _text(result["value"])))
    for n, attempt in enumerate(job.attempts):
        seconds = attempt.get("seconds")
        took = "" if seconds is None else f", {seconds:.2f} s"
        error = attempt.get("error") or {}
        said = f": {error.get('type')}: {error.get('message')}" if error else ""
        started = moment(attempt["started"]) if attempt.get("started") else "once"
        facts.append(("attempts" if n == 0 else "", f"{started}{took}, {attempt['outcome']}{said}"))
    if job.attempts and shown.status != "done":
        traceback = (job.attempts[-1].get("error") or {}).get("traceback")
        if traceback:
            facts.append(("traceback", traceback.rstrip()))
    return facts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def print_report(out: Paper, report: Report) -> None:
    for fault in report.faults:
        out.say(Mark("fault", "red"), ": ", _one_line(fault))
    shown: dict[str, int] = {}
    for warning in report.warnings:
        shown[warning.code] = shown.get(warning.code, 0) + 1
        if shown[warning.code] <= _AT_ONCE:
            out.say(Mark("warning", "yellow"), ": ", _one_line(warning))
    for code, count in shown.items():
        if count > _AT_ONCE:
            out.say(Mark("warning", "yellow"), f": and {count - _AT_ONCE:,} more like it ({code}): --json has them all")
    mended = sum(fault.mended is not None for fault in report.faults)
    said = counted(len(report.faults), "fault") + (f" ({mended:,} mended)" if mended else "")
    looked_at = [counted(report.jobs, "job"), counted(report.outputs, "output"), counted(report.runs, "run")]
    looked_at[1] += " (digests)" if report.verified else " (sizes)"
    out.say(
        Mark(said, "red" if report.faults else "green"),
        f", {counted(len(report.warnings), 'warning')}: {', '.join(looked_at)}, in {report.seconds:.1f} s",
    )


def print_changes(out: Paper, changes: Changes) -> None:
    of = f" of {changes.target}" if changes.target else ""
    out.say(f"run {changes.run}{of}", "" if changes.ended else ": has not ended; so far")
    if not changes.tasks:
        out.say("no jobs")
        return
    shown = [kind for kind in _KINDS if kind != "blocked" or any(kinds[kind] for kinds in changes.tasks.values())]
    rows = [
        [task, *(f"{kinds[kind]:,}" if kinds[kind] else "" for kind in shown)] for task, kinds in changes.tasks.items()
    ]
    if len(rows) > 1:
        totals = (sum(kinds[kind] for kinds in changes.tasks.values()) for kind in shown)
        rows.append(["total", *(f"{total:,}" if total else "" for total in totals)])
    out.say()
    out.table(["", *shown], rows)
    for change, group in groupby(changes.jobs, lambda job: job.change):
        jobs = list(group)
        out.say()
        for job in jobs[:_AT_ONCE]:
            out.say(f"{change:<9}  {job.id}", f"  {job.output}" if job.output else "")
        if len(jobs) > _AT_ONCE:
            out.say(f"{change:<9}  and {len(jobs) - _AT_ONCE:,} more: --json has them all")


def print_explained(out: Paper, explained: Explained) -> None:
    out.say(Mark(explained.id, "bold"), "  ", status_mark(explained.status))
    out.say("  ", explained.verdict)
    for line in explained.because:
        out.say("  ", line)
    sections: list[tuple[str, list[str]]] = [
        ("what changed since it succeeded last", [each.says + _old_and_new(each) for each in explained.differences]),
        ("what its record says" if explained.differences else "all as its record says", explained.same),
        ("it waits for", [_upstream(each) for each in explained.waits_for]),
        ("who is in its way", [_upstream(each) for each in explained.chain]),
        ("limits", [_limit(each) for each in explained.limits]),
        ("why it ran last, or is to run", [explained.last_reason] if explained.last_reason else []),
    ]
    for title, lines in sections:
        if lines:
            out.say(title)
        for line in lines:
            out.say("  ", line)


def _old_and_new(difference: Difference) -> str:
    """Digests, which the phrase leaves out."""
    if difference.part != "input" or not difference.name:
        return ""
    return f" ({_digest(difference.old)} -> {_digest(difference.new)})"


def _digest(value: Any) -> str:
    return str(value)[:12] if value else "none"


def _upstream(upstream: Upstream) -> str:
    return f"{upstream.id}, {upstream.status}" + (f": {upstream.error}" if upstream.error else "")


def _limit(held: Held) -> str:
    bounds = [f"{held.at_once:,} at once"] if held.at_once is not None else []
    bounds += [f"{held.per_second:g} starts a second"] if held.per_second is not None else []
    holders = ", ".join(held.running[:_HOLDERS]) + (" and more" if len(held.running) > _HOLDERS else "")
    return f"{held.key}: {', '.join(bounds) or 'no bound'}; {holders or 'nobody'} runs under it"


_SURE = {
    "will": "will run",
    "expected": "expected to run, if found again",
    "may": "may run, if what they read changes or who finds them asks for something else",
    "fails": "will fail",
    "blocked": "will be blocked",
}
_PARTS = {
    "parameter": "other parameters",
    "output": "an output is not as it was made",
    "input": "an input changed, or may",
    "finder": "who found them runs",
}
_WHYS = 3  # different reasons of one sort that are told one by one


def print_plan(out: Paper, plan: Plan) -> None:
    out.say(f"plan of {plan.target}" if plan.target else "plan")
    for name, title in _SURE.items():
        jobs: list[PlannedJob] = getattr(plan, name)
        if jobs or name == "will":
            out.say()
            out.say(Mark(f"{title}: {len(jobs):,}", "bold"))
        for line in _grouped(jobs):
            out.say("  ", line)
    out.say()
    up_to_date = ", ".join(f"{count:,} {task}" for task, count in plan.up_to_date.items())
    out.say(f"up to date: {up_to_date or 'nothing'}")
    if plan.gone:
        out.say(f"gone: {counted(len(plan.gone), 'job')} that nobody names any more")


def _grouped(jobs: Sequence[PlannedJob]) -> Iterator[str]:
    """1,204 ParsePage: version 2 -> 3."""
    groups: dict[tuple[str, str], dict[str, list[PlannedJob]]] = {}
    for job in jobs:
        groups.setdefault((job.task, job.part), {}).setdefault(job.why, []).append(job)
    for (task, part), whys in groups.items():
        if len(whys) > _WHYS:
            first = next(iter(whys))
            yield f"{sum(map(len, whys.values())):,} {task}: {_PARTS.get(part, part)} (such as: {shorten(first, 100)})"
            continue
        for why, these in whys.items():
            yield f"{these[0].id}: {why}" if len(these) == 1 else f"{len(these):,} {task}: {why}"


def _one_line(finding: Finding) -> str:
    do = f"mended: {finding.mended}" if finding.mended else f"to do: {finding.do}"
    return " ".join(f"{finding.where}: {finding.what}; {do}".split())
