"""From a wheel, as a user has it who never saw the repository: install, init, edit one file, run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

import runner
from tests.web.served import served

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

ROOT = Path(runner.__file__).parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def done(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RUNNER"))}
    found = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment | {"NO_COLOR": "1", "PIP_NO_INPUT": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in found.stderr, found.stderr
    return found


def well(*words: str | Path, cwd: Path) -> str:
    found = done(*words, cwd=cwd)
    assert found.returncode == 0, (words, found.stdout, found.stderr)
    return found.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of an environment with the runner from a wheel, that was made from a source distribution.

    What the runner depends on is taken from this environment: a .pth file does not bring its other .pth files along,
    and so not the repository.
    """
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("runner", "jobs"):
        shutil.copytree(ROOT / name, source / name, ignore=leave)
    (source / "state" / "done").mkdir(parents=True)
    (source / "state" / "done" / "Mine-0000000000000000.json").touch()  # what runs leave there is nobody's business
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (".gitignore", "README.md"):
        shutil.copy(ROOT / "state" / name, source / "state")
    sdist = "from setuptools import build_meta; build_meta.build_sdist('..')"
    well(sys.executable, "-c", sdist, cwd=source)
    (archive,) = folder.glob("*.tar.gz")
    offline = ("--no-deps", "--no-index")
    well(*PIP, "wheel", *offline, "--no-build-isolation", "-w", folder, archive, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    well(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    well(*PIP, "--python", python, "install", *offline, wheel, cwd=folder)
    purelib = well(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(purelib, "dependencies.pth").write_text("\n".join(here) + "\n")
    place = well(python, "-c", "import runner; print(runner.__file__)", cwd=folder).strip()
    assert Path(place).is_relative_to(purelib), "this is not the wheel"
    assert not list(Path(purelib).rglob("Mine-*"))
    return python.parent


@pytest.fixture
def demo_site(installed: Path, tmp_path: Path) -> Iterator[str]:
    """The address of the demo site, served by the installed package."""
    words = [str(installed / "python"), "-m", "runner.demo.serve"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


def test_from_a_wheel_to_the_text_of_a_site(installed: Path, demo_site: str, tmp_path: Path) -> None:
    told = done(installed / "runner", "init", "--template", "scrape", "pages", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "next: `python -m runner -C pages run`" in told.stderr
    project = tmp_path / "pages"
    made = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    assert made == set(told.stdout.splitlines())

    sites = project / "jobs" / "sites.toml"
    text = sites.read_text(encoding="utf-8")
    for old, new in (("http://127.0.0.1:8765/", demo_site), ("you@example.org", "me@example.org")):
        assert text.count(f'"{old}"') == 1
        text = text.replace(old, new)
    sites.write_text(text, encoding="utf-8")

    well(installed / "python", "-m", "runner", "-C", "pages", "run", "--durability", "process", cwd=tmp_path)
    assert len(list(project.glob("data/demo/text/*.txt"))) > 20
    assert len(list(project.glob("state/done/*.json"))) > 40
    well(installed / "runner", "-C", "pages", "status", cwd=tmp_path)
    assert well(installed / "runner", "check", cwd=project).startswith("no faults")


def test_from_a_wheel_to_the_example(installed: Path, tmp_path: Path) -> None:
    well(installed / "runner", "init", cwd=tmp_path)
    well(installed / "python", "-m", "runner", "run", cwd=tmp_path)
    assert (tmp_path / "data" / "total.txt").read_text() == "55\n"
    again = done(installed / "runner", "run", cwd=tmp_path)
    assert again.returncode == 0
    assert "6 done" in again.stderr
    assert "new" not in again.stderr
    well(installed / "runner", "report", "-o", "report.html", cwd=tmp_path)
    assert "</svg>" in (tmp_path / "report.html").read_text()
    with served(tmp_path, str(installed / "runner")) as site:
        assert "6 jobs" in site.get("/jobs").text
        assert site.get("/static/style.css").ok


def test_the_demonstration_makes_its_project_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    make = "from runner.demo.project import *; make_scraping_project(Path('made'), [{'name': 'a', 'start': []}])"
    well(installed / "python", "-c", make, cwd=tmp_path)
    assert (tmp_path / "made" / "jobs" / "scrape" / "__init__.py").exists()
    wrong = done(installed / "runner", "-C", "made", "run", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "jobs/sites.toml:5: start: empty" in wrong.stderr
