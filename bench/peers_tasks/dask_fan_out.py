"""Start a cluster of two processes with one thread each, and have it do N tasks. Says how many results came.

python dask_fan_out.py N
"""

from __future__ import annotations

import sys

from dask_tasks import noop
from distributed import Client, LocalCluster


def main() -> None:
    count = int(sys.argv[1])
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory="scratch",
        ) as cluster,
        Client(cluster) as client,
    ):
        results = client.gather(client.map(noop, range(count), pure=False))
        print(len(set(results)), "results", flush=True)


if __name__ == "__main__":  # the workers import this file
    main()
