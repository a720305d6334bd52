"""tests/acceptance/test_bad_input.py on a Dask cluster, but for what is found before a job begins."""

from tests.acceptance.test_bad_input import (
    test_a_task_that_misbehaves,
    test_a_task_that_prints_a_megabyte,
    test_children_that_cannot_be,
    test_endless_growth_is_caught,
    test_mv_to_the_inbox_is_a_retry,
    test_retries_are_counted_on_disk_and_then_end,
)

__all__ = [
    "test_a_task_that_misbehaves",
    "test_a_task_that_prints_a_megabyte",
    "test_children_that_cannot_be",
    "test_endless_growth_is_caught",
    "test_mv_to_the_inbox_is_a_retry",
    "test_retries_are_counted_on_disk_and_then_end",
]
