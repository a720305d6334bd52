"""tests/acceptance/test_probe.py on a Dask cluster."""

from tests.acceptance.test_probe import *  # noqa: F403
