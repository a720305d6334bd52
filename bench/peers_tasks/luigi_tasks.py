"""Luigi's tasks. A target that exists is all that Luigi remembers, so each makes an empty file.

python -m luigi --module luigi_tasks FanOut --count N
"""

from __future__ import annotations

import luigi


class Noop(luigi.Task):
    number = luigi.IntParameter()

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(f"done/{self.number}")

    def run(self) -> None:
        with self.output().open("w"):
            pass


class FanOut(luigi.WrapperTask):
    count = luigi.IntParameter()

    def requires(self) -> list[Noop]:
        return [Noop(number) for number in range(self.count)]
