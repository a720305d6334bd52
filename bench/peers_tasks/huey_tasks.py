"""huey's task. Its result is stored, even None: that is what huey remembers of a task that is done.

HUEY_FSYNC, in the environment: "" for what SQLite does by itself, 0 for no sync.
"""

from __future__ import annotations

import os

from huey import SqliteHuey

FSYNC = {"": None, "0": False}[os.environ.get("HUEY_FSYNC", "")]

# With the 5 seconds that it waits for the database by itself, results get lost on a disk that others keep busy.
huey = SqliteHuey(filename="huey.db", store_none=True, fsync=FSYNC, timeout=60)


@huey.task()
def noop(number: int) -> None:
    pass
