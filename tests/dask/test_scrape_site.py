"""tests/acceptance/test_scrape_site.py on a Dask cluster."""

from tests.acceptance.test_scrape_site import *  # noqa: F403
