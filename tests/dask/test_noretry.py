"""tests/acceptance/test_noretry.py on a Dask cluster."""

from tests.acceptance.test_noretry import *  # noqa: F403
