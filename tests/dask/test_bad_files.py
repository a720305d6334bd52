"""tests/acceptance/test_bad_files.py on a Dask cluster."""

from tests.acceptance.test_bad_files import *  # noqa: F403
