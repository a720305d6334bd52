"""The live page over HTTP: what it shows, to whom, and what it does when one asks for what is not there."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.views.state import RUN, Built, done_attempt, failed_attempt, id_of
from tests.web.served import TOKEN, Served, served
from tests.workers.support import wait_for

EVIL = "<script>alert(1)</script>\"'>"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("project")
    (root / "pyproject.toml").write_text('[tool.runner]\nmodules = ["jobs"]\n')
    built = Built(root)
    for n in range(60):
        built.put("done", f"{n}", attempts=[done_attempt()])
    built.put("failed", EVIL, params={"url": EVIL}, attempts=[failed_attempt(EVIL, EVIL)])
    (built.state / "logs" / f"{id_of(EVIL)}.log").write_text(f"--- run {RUN}, attempt 1\n{EVIL}\n")
    built.put("pending", "p", "Parse", after=[id_of("3")])
    built.run(target=EVIL, ended="2026-11-22T02:10:00.000000Z", exit=1, changes={"Fetch": {"new": 60}})
    return built


@pytest.fixture(scope="module")
def site(built: Built) -> Iterator[Served]:
    with served(built.root) as site:
        yield site


PAGES = [
    "/",
    "/jobs",
    f"/jobs/{id_of(EVIL)}",
    f"/jobs/{id_of('3')}",
    "/graph",
    f"/graph?id={id_of('3')}",
    "/runs",
    f"/runs/{RUN}",
    "/metrics",
    "/static/style.css",
    "/static/live.js",
]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_there_for_who_looks(site: Served, path: str) -> None:
    answer = site.get(path, known=False)
    assert answer.status_code == 200
    assert 'value="retry"' not in answer.text, "who has not shown the token sees no buttons"


@pytest.mark.parametrize("path", PAGES[:-3])
def test_words_of_others_stay_words(site: Served, path: str) -> None:
    text = site.get(path).text
    assert "<script>" not in text
    assert re.findall(r"<script[^>]*>", text) == ['<script src="/static/live.js" defer>']


def test_what_is_shown_of_a_job(site: Served) -> None:
    text = site.get(f"/jobs/{id_of(EVIL)}").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "ValueError: no page" in text, "the traceback"
    assert "attempt 1" in text, "the log"
    assert 'value="retry"' in text
    assert id_of("p", "Parse") in site.get(f"/jobs/{id_of('3')}").text, "who comes after it"


def test_a_run_s_page_leads_to_its_jobs_and_a_report_to_nothing(site: Served, built: Built, tmp_path: Path) -> None:
    link = f'href="/jobs/{id_of(EVIL)}"'
    text = site.get(f"/runs/{RUN}").text
    assert link in text
    assert 'href="/jobs?task=Fetch"' in text, "the graph, by task classes"
    report = tmp_path / "report.html"
    words = ["-C", str(built.root), "report", "-o", str(report)]
    subprocess.run([sys.executable, "-m", "runner", *words], check=True, capture_output=True)
    assert "href=" not in report.read_text()


def test_a_job_by_the_beginning_of_its_id(site: Served) -> None:
    assert site.get(f"/jobs/{id_of('p', 'Parse')[:9]}").status_code == 200


def test_the_list_by_status_task_and_text(site: Served) -> None:
    assert "60 jobs" in site.get("/jobs?status=done").text
    assert id_of("p", "Parse") in site.get("/jobs?task=Parse").text
    assert "1 job" in site.get("/jobs?q=example.org/17").text
    first, second = site.get("/jobs?page=1").text, site.get("/jobs?page=2").text
    ids = [set(re.findall(r"[A-Z]\w+-[0-9a-f]{16}", text)) for text in (first, second)]
    assert [len(found) for found in ids] == [50, 12]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize("page", ["0", "-1", "x", "99999999999999999999"])
def test_a_page_that_is_none(site: Served, page: str) -> None:
    assert site.get(f"/jobs?page={page}").status_code == 200


@pytest.mark.parametrize("path", ["/jobs/Fetch-zz", "/runs/2019", "/graph?id=nobody", "/static/../app.py", "/nothing"])
def test_what_is_not_there_is_404(site: Served, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_numbers_for_a_monitoring_system(site: Served) -> None:
    lines = site.get("/metrics", known=False).text.splitlines()
    assert 'runner_jobs{task="Fetch",status="done"} 60' in lines
    assert 'runner_jobs{task="Fetch",status="failed"} 1' in lines
    assert "runner_run_exit_code 1" in lines
    for line in lines:
        assert re.fullmatch(r"# (HELP|TYPE) .+|[a-z_]+(\{[^}]*\})? [0-9.e+-]+", line), line


# ---------------------------------------------------------------------------------------------------------- for whom


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1.evil.example", "localhost:1", ""])
def test_a_request_for_another_host_is_refused(site: Served, host: str) -> None:
    assert site.get("/", Host=host).status_code in (400, 421)


def test_a_token_becomes_a_cookie_that_no_other_site_can_use(site: Served) -> None:
    answer = site.get(f"/?token={TOKEN}", known=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert site.get("/?token=wrong", known=False).status_code == 403
    assert site.get(f"//evil.example/?token={TOKEN}", known=False).headers["location"] == "/evil.example/"


@pytest.mark.parametrize(
    "wrong",
    [
        {"known": False},
        {"word": ""},
        {"word": "0" * 64},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1"},
    ],
)
def test_who_does_not_come_from_a_page_of_ours_changes_nothing(
    site: Served, built: Built, wrong: dict[str, str]
) -> None:
    before = built.contents()
    form = {"word": site.word, "verb": "retry", "id": id_of(EVIL), **wrong}
    answer = site.post(**form)  # type: ignore[arg-type]
    assert answer.status_code == 403
    assert built.contents() == before


@pytest.mark.parametrize("verb", ["", "run", "invalidate", "__class__"])
def test_verbs_that_are_none_of_the_page_s(site: Served, verb: str) -> None:
    answer = site.post(word=site.word, verb=verb, id=id_of(EVIL), origin=site.address)
    assert answer.status_code == 404
    assert "retry, cancel, stop" in answer.text


def test_to_act_by_get_is_no_way(site: Served) -> None:
    assert site.get(f"/act?verb=retry&word={site.word}").status_code == 405


@pytest.mark.parametrize("path", ["/", "/jobs", "/metrics", "/nothing", "/static/live.js"])
def test_every_answer_says_what_the_browser_may_do_with_it(site: Served, path: str) -> None:
    headers = site.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


# -------------------------------------------------------------------------------------------------------- as it changes


def test_what_changes_is_sent(site: Served, built: Built) -> None:
    with requests.get(f"{site.address}/live", stream=True, timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines(decode_unicode=True)
        assert next(lines) == "event: now"
        id = built.put("running", "came later", "Late")
        assert any("Late" in line for line in lines)
    built.file("running", id).unlink()


def test_browsers_that_go_away_leave_nothing_behind(site: Served) -> None:
    for _ in range(20):
        requests.get(f"{site.address}/live", stream=True, timeout=20).close()
    assert site.get("/").status_code == 200


# ------------------------------------------------------------------------------------------------------------ bad input


def ui(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runner", "-C", str(root), "ui", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_a_port_that_is_taken(built: Built) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = ui(built.root, "--port", str(taken.getsockname()[1]))
    assert found.returncode == 2
    assert "Address already in use: name another one with --port" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_state_that_is_not_there(tmp_path: Path) -> None:
    found = ui(tmp_path)
    assert found.returncode == 4
    assert "there is no state folder yet" in found.stderr


def test_a_state_that_goes_away_meanwhile(tmp_path: Path) -> None:
    built = Built(tmp_path)
    with served(tmp_path) as site:
        built.state.rename(tmp_path / "elsewhere")
        answer = site.get("/")
        assert answer.status_code == 503
        assert "there is no state folder" in answer.text
        (tmp_path / "elsewhere").rename(built.state)
        assert site.get("/").status_code == 200


# ------------------------------------------------------------------------------------------- what others may try, again


@pytest.mark.parametrize("id", ["../../../../etc/passwd", "/etc/hostname", "%00", "..", "Fetch-zz", "a" * 5000])
def test_only_the_log_of_a_job_is_read(site: Served, id: str) -> None:
    assert site.get(f"/live?id={id}").status_code == 404


def test_another_site_gets_nothing_but_by_a_link(site: Served) -> None:
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert site.get("/graph", **cross, **{"Sec-Fetch-Mode": "no-cors"}).status_code == 421
    assert site.get("/", **cross, **{"Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert site.get("/", **{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}).status_code == 421


def test_a_body_is_not_read_before_it_is_known_whose_it_is(site: Served) -> None:
    many = b"x" * 5_000_000
    for headers in ({"Origin": "http://evil.example"}, {"Content-Type": "multipart/form-data; boundary=x"}):
        answer = requests.post(f"{site.address}/act", data=many, headers=headers, timeout=20)
        assert answer.status_code == 403
    cookies = {f"runner_token_{site.address.rpartition(':')[2]}": TOKEN}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert requests.post(f"{site.address}/act", data=many, headers=form, cookies=cookies, timeout=20).status_code == 413


def test_job_files_and_records_may_say_anything(tmp_path: Path) -> None:
    built = Built(tmp_path)
    hostile = [
        {"outcome": "done"},
        {"outcome": "failed", "error": {"type": "A"}, "run": RUN},
        {"outcome": "failed", "error": {"type": None, "message": None}, "started": "yesterday", "run": RUN},
        {"outcome": "done", "seconds": 1e308, "started": "2026-11-22T02:00:00Z", "run": RUN, "change": "weird"},
        {"outcome": "done", "seconds": -5, "worker": 1 << 70, "started": "9999-12-31T23:59:59Z", "run": RUN},
    ]
    id = built.put("done", "a", attempts=hostile)
    built.run(ended="2026-11-22T02:10:00.000000Z", exit=0)
    built.run("20261123T020000Z", ended="yesterday", exit=10**300, target="a\r\revent: now\rdata: all is well")
    (built.state / "runs" / "20261124T020000Z.json").write_text("{")
    with served(tmp_path) as site:
        for path in ("/", "/jobs", f"/jobs/{id}", "/graph", "/runs", f"/runs/{RUN}", "/metrics"):
            assert site.get(path).status_code == 200, path
        assert "20261124T020000Z.json" in site.get("/runs").text, "and it says which record is damaged"
        assert site.get("/jobs?page=" + "9" * 5000).status_code == 200


def test_lines_of_others_begin_no_event(tmp_path: Path) -> None:
    built = Built(tmp_path)
    id = built.put("running", "a")
    (built.state / "logs" / f"{id}.log").write_bytes(b"one\r\revent: status\rdata: done\n\nevent: status\ndata: done\n")
    with served(tmp_path) as site, requests.get(f"{site.address}/live?id={id}", stream=True, timeout=20) as answer:
        lines = []
        for line in answer.iter_lines(decode_unicode=True):
            lines.append(line)
            if line == "data: running":
                break
    assert [line for line in lines if line.startswith("event: ")] == ["event: log", "event: status"]


# ---------------------------------------------------------------------------------------- tasks that do as they like

TASKS = """
import os, subprocess, sys
from dataclasses import dataclass
from runner import Output, Task

@dataclass
class Odd(Task):
    how: str
    filepath: Output

    def due(self, last, now):
        if self.how == "hangs":
            child = subprocess.Popen(["sleep", "60"])
            open("child", "w").write(str(child.pid))
            child.wait()
        if self.how == "ends":
            os._exit(7)
        if self.how == "leaves":
            sys.exit(3)
        return None

    def run(self):
        self.filepath.write_text("made")

def flow():
    return [Odd(how, how) for how in ("hangs", "ends", "leaves", "fine")]
"""


def test_what_due_does_harms_no_page(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").write_text(TASKS)
    (tmp_path / "pyproject.toml").write_text('[tool.runner]\ntarget = "jobs:flow"\n')
    subprocess.run([sys.executable, "-m", "runner", "-C", str(tmp_path), "run", "-q"], check=True, timeout=60)
    jobs = {json.loads(file.read_text())["params"]["how"]: file.stem for file in (tmp_path / "state/done").iterdir()}
    with served(tmp_path) as site:
        assert "is up to date" in site.get(f"/jobs/{jobs['fine']}").text
        assert "could not be told within" in site.get(f"/jobs/{jobs['hangs']}").text
        child = Path("/proc", (tmp_path / "child").read_text())
        wait_for("what it had started is ended, too", lambda: not child.exists())
        for how in ("ends", "leaves"):
            assert site.get(f"/jobs/{jobs[how]}").status_code == 200
        (tmp_path / "jobs" / "__init__.py").write_text(TASKS.replace("return None", 'return "it is monday"'))
        assert "it is monday" in site.get(f"/jobs/{jobs['fine']}").text, "not by the code of yesterday"


def test_ctrl_c_ends_it_also_while_browsers_watch(built: Built) -> None:
    command = [sys.executable, "-m", "runner", "-C", str(built.root), "ui", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().partition("/?")[0]
        with requests.get(f"{address}/live", stream=True, timeout=20) as answer:
            next(answer.iter_lines())
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == "Ctrl-C ends it\n"


@pytest.mark.parametrize("token", ["a b", "a&b", "日本", ""])
def test_a_token_that_fits_into_no_address(built: Built, token: str) -> None:
    found = ui(built.root, "--token", token)
    assert found.returncode == 2
    assert "letters, digits" in found.stderr


def test_a_job_in_the_inbox_is_not_loaded_again_and_again(built: Built) -> None:
    id = built.put("failed", "handed back", attempts=[failed_attempt()])
    built.file("failed", id).rename(built.state / "inbox" / f"{id}.json")
    with served(built.root) as site:
        assert ">inbox<" in site.get(f"/jobs/{id}").text
        with requests.get(f"{site.address}/live?id={id}", stream=True, timeout=20) as answer:
            assert any(line == "data: inbox" for line in answer.iter_lines(decode_unicode=True))
    (built.state / "inbox" / f"{id}.json").unlink()
