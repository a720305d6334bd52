"""Start huey's consumer with two worker processes, hand in N tasks meanwhile, and wait until all results are stored.

python huey_fan_out.py N

Says how long handing in took. The consumer would wait for more: it is left to whoever started this, to be killed with
the session.
"""

from __future__ import annotations

import subprocess
import sys
import time

from huey_tasks import huey, noop

CONSUMER = ["-m", "huey.bin.huey_consumer", "huey_tasks.huey", "-w", "2", "-k", "process", "--no-periodic", "--quiet"]
PATIENCE = 60.0  # seconds without a new result: one is lost


def main() -> None:
    count = int(sys.argv[1])
    consumer = subprocess.Popen([sys.executable, *CONSUMER])
    begin = changed = time.perf_counter()
    for number in range(count):
        noop(number)
    print(f"{count} handed in, in {time.perf_counter() - begin:.3f} s", flush=True)
    stored = 0
    while stored < count:
        time.sleep(0.01)
        before, stored = stored, huey.storage.result_store_size()
        now = time.perf_counter()
        if stored > before:
            changed = now
        if consumer.poll() is not None or now - changed > PATIENCE:
            sys.exit(f"{stored} of {count} results; the consumer's exit code: {consumer.poll()}")


if __name__ == "__main__":
    main()
