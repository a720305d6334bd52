"""tests/acceptance/test_again.py on a Dask cluster."""

from tests.acceptance.test_again import *  # noqa: F403

del test_workers_that_die_while_they_look_at_done_jobs_cost_nothing  # noqa: F821  # it strikes children of the runner
