"""Numbers and times in words, as people are told them everywhere."""

from __future__ import annotations


def moment(stamp: str) -> str:
    """A stamp, for people."""
    return f"{stamp[:19].replace('T', ' ')} UTC"


def span(seconds: float) -> str:
    """A time that something takes: "8 s", "3 min", "2 h 05 min", "3 d 4 h"."""
    whole = max(0, round(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 1:
        return f"{whole} s"
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60:02} min" if days < 1 else f"{days} d {hours % 24} h"


def counted(number: int, noun: str) -> str:
    """ "no jobs", "1 job", "1,234 jobs"."""
    return f"{f'{number:,}' if number else 'no'} {noun}{'' if number == 1 else 's'}"


def wait(seconds: float) -> str:
    """The same for one that may be short: "1.2 s"."""
    return f"{seconds:.1f} s" if seconds < 60 else span(seconds)


def rate(per_second: float) -> str:
    """How fast jobs go: "12.3 jobs/s", "2.5 jobs/min"."""
    return f"{per_second:,.1f} jobs/s" if per_second >= 0.1 else f"{60 * per_second:,.1f} jobs/min"


def shorten(text: str, width: int) -> str:
    """`text` on one line of at most `width` columns."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: max(0, width - 3)] + "..."
