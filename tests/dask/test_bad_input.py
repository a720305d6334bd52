"""tests/acceptance/test_bad_input.py on a Dask cluster."""

from tests.acceptance.test_bad_input import *  # noqa: F403
