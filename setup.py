"""Adds to a wheel what `runner init` hands out: jobs/ and state/README.md, of which there is no second copy."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithTemplates(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # then they are found where they are
            return
        to = Path(self.build_lib, "runner", "templates")
        for name in ("jobs", "state"):
            shutil.rmtree(to / name, ignore_errors=True)  # of an earlier build
        shutil.copytree("jobs", to / "jobs", ignore=shutil.ignore_patterns("__pycache__", ".*"))
        (to / "state").mkdir()
        for name in (".gitignore", "README.md"):  # and nothing of what runs have left there
            shutil.copy(Path("state", name), to / "state" / name)


setup(cmdclass={"build_py": BuildWithTemplates})
