"""Graphs of tasks that do nothing: what is measured is the runner. Copied into a benchmark's project as shapes.py."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner import Input, Output, Task

Graph = dict[Task, set[Task]]


@dataclass
class Noop(Task):
    number: int

    def run(self) -> None:
        pass


@dataclass
class Small(Task):
    """One small output."""

    output_filepath: Output

    def run(self) -> None:
        self.output_filepath.write_bytes(b"a small output\n")


@dataclass
class Copy(Task):
    """Reads a small output."""

    input_filepath: Input
    output_filepath: Output

    def run(self) -> None:
        self.output_filepath.write_bytes(self.input_filepath.read_bytes())


@dataclass
class Folder(Task):
    """Finds tasks with one small output each."""

    files: int

    def downstream_tasks(self) -> Iterator[Task]:
        return outputs(self.files)


@dataclass
class Fetch(Task):
    url: str

    def run(self) -> None:
        pass


@dataclass
class Parse(Task):
    url: str

    def run(self) -> None:
        pass


@dataclass
class Site(Task):
    """Finds its pages when it runs, as a sitemap does."""

    name: str
    pages: int

    def run(self) -> None:
        pass

    def downstream_tasks(self) -> Graph:
        urls = [f"https://{self.name}.example/page/{number}" for number in range(self.pages)]
        return {Parse(url): {Fetch(url)} for url in urls}


@dataclass
class Gate(Task):
    """Holds everything back until a file named `open` is there."""

    def run(self) -> None:
        while not Path("open").exists():
            time.sleep(0.05)


def fan_out(count: int) -> Iterator[Task]:
    return (Noop(number) for number in range(count))


def outputs(count: int) -> Iterator[Task]:
    data = Path("data")
    return (Small(data / f"{number}.txt") for number in range(count))


def copied(count: int) -> Iterator[Task]:
    """`count` pairs, of which one reads what the other makes."""
    for number in range(count):
        yield Small(Path("data") / f"{number}.txt")
        yield Copy(Path("data") / f"{number}.txt", Path("data") / f"{number}.copy")


def chains(count: int, length: int = 10) -> Graph:
    """As many chains of `length` as make `count` tasks."""
    links = [Noop(number) for number in range(count)]
    return {link: {links[n - 1]} if n % length else set() for n, link in enumerate(links)}


def chain(count: int) -> Graph:
    """One chain: each waits for the one before."""
    return chains(count, count)


def found(count: int, roots: int = 20) -> Iterator[Task]:
    """`roots` sites, each of which finds as many pairs of fetch and parse as make about `count` tasks in all."""
    return (Site(f"site{number}", count // roots // 2) for number in range(roots))


def listed(count: int) -> Iterator[Task]:
    """One that finds `count` tasks with one small output each."""
    yield Folder(count)


def gated(count: int) -> Graph:
    """`count` tasks that wait for one that does not end."""
    gate = Gate()
    return {Noop(number): {gate} for number in range(count)}
