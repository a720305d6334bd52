"""tests/acceptance/test_wishes.py on a Dask cluster."""

from tests.acceptance.test_wishes import *  # noqa: F403
