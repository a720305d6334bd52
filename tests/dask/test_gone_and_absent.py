"""tests/acceptance/test_gone_and_absent.py on a Dask cluster."""

from tests.acceptance.test_gone_and_absent import *  # noqa: F403
