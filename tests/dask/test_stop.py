"""tests/acceptance/test_stop.py on a Dask cluster."""

from tests.acceptance.test_stop import *  # noqa: F403
