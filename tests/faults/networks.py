"""Two networks with a router between, each in a network namespace of its own; the router may drop all that it gets."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import dataclass

HERE, THERE = "10.231.1.2", "10.231.2.2"
"""The addresses of the two hosts. Nothing of this leaves the namespaces."""


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=20)


LET_GO = "awk '$1 ~ /loop/ {print $2}' /proc/self/mounts | sort -r | xargs -r umount --lazy; "
"""For a shell that begins in a mount namespace of its own: it lets go of the loop devices of other tests, whose file
systems would live on there after their tests have unmounted them."""


@dataclass(frozen=True)
class Network:
    """`name` is unique among tests that run at the same time: at most eight letters."""

    name: str

    @property
    def here(self) -> tuple[str, ...]:
        """Words before a command that is to run on the one host."""
        return _inside(f"{self.name}-here")

    @property
    def there(self) -> tuple[str, ...]:
        return _inside(f"{self.name}-there")

    def lay(self) -> None:
        router = f"{self.name}-router"
        run("ip", "netns", "add", router)
        for number, (side, address) in enumerate((("here", HERE), ("there", THERE)), 1):
            space, gate = f"{self.name}-{side}", f"10.231.{number}.1"
            run("ip", "netns", "add", space)
            run("ip", "link", "add", "net0", "netns", space, "type", "veth", "peer", "name", side, "netns", router)
            for words in (("lo", "up"), ("net0", "up")):
                run("ip", "-n", space, "link", "set", *words)
            run("ip", "-n", space, "address", "add", f"{address}/24", "dev", "net0")
            run("ip", "-n", space, "route", "add", "default", "via", gate)
            run("ip", "-n", router, "link", "set", side, "up")
            run("ip", "-n", router, "address", "add", f"{gate}/24", "dev", side)
        self.mend()

    def cut(self) -> None:
        """From now on nothing gets through, and nobody is told."""
        self._forward(0)

    def mend(self) -> None:
        self._forward(1)

    def remove(self) -> None:
        for side in ("here", "there", "router"):
            with suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", f"{self.name}-{side}")

    def _forward(self, on: int) -> None:
        run(*_inside(f"{self.name}-router"), "sysctl", "-q", "-w", f"net.ipv4.ip_forward={on}")


def _inside(space: str) -> tuple[str, ...]:
    """Not `ip netns exec`, which makes a mount namespace, too (see LET_GO)."""
    return ("nsenter", f"--net=/run/netns/{space}")
