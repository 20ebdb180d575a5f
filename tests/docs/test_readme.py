"""The README's five minutes, done word for word in a new project, with the package installed from its wheel."""

import contextlib
import http.server
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import standardwebhooks

from tests import databases

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- ([a-z]+)(?:: (\S+))? -->\n```\w+\n(.*?)```", re.DOTALL)


def blocks(kind: str, page: str = "README.md") -> list[tuple[str, str]]:
    """Return a page's marked code blocks of a kind: (name, text)."""
    found = [(name, text) for marked, name, text in BLOCK.findall((ROOT / page).read_text()) if marked == kind]
    assert found, f"{page} has no block marked {kind}"
    return found


@dataclass
class Inbox:
    """What a customer's server received."""

    url: str = ""
    messages: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def wait_for(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        """Return what came once that is so many messages, or after half a minute."""
        until = time.monotonic() + 30
        while len(self.messages) < count and time.monotonic() < until:
            time.sleep(0.1)
        return self.messages


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            inbox.messages.append((dict(self.headers), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        inbox.url = f"http://127.0.0.1:{server.server_port}/webhooks"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield inbox
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return next(folder.glob("*.whl"))


class Project:
    """A new Django project with the wheel installed, and nothing of this checkout on its path."""

    def __init__(self, folder: Path, wheel: Path, database_url: str) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        installed = folder / "installed"
        zipfile.ZipFile(wheel).extractall(installed)
        # Dependencies come from the tests' own environment; the wheel comes before it on the path.
        paths = [str(installed), str(self.folder), sysconfig.get_path("purelib")]
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join(paths),
            "NO_COLOR": "1",
        }
        ((_name, make_key),) = blocks("key")
        shown = subprocess.check_output(["bash", "-c", f"{make_key}\necho $RELAY_KEY"], env=self.environment, text=True)
        self.environment["RELAY_KEY"] = shown.strip()
        self._write(database_url)

    def _write(self, database_url: str) -> None:
        self.run("-m", "django", "startproject", "mysite", ".")
        (self.folder / "billing").mkdir()
        (self.folder / "billing" / "__init__.py").touch()
        self.add("file")
        with (self.folder / "mysite" / "settings.py").open("a") as file:
            if database_url.startswith("postgresql"):
                from example_project.settings import database

                file.write(f"\nDATABASES = {{'default': {database(database_url)!r}}}\n")

    def add(self, kind: str) -> None:
        """Write the README's files of a kind, or append to them."""
        for name, text in blocks(kind):
            with (self.folder / name).open("a") as file:
                file.write("\n" + text)

    @contextlib.contextmanager
    def cluster(self) -> Iterator[None]:
        """Run the worker as the README says."""
        cluster = subprocess.Popen(
            [sys.executable, *command("worker")],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            cluster.terminate()
            cluster.wait(60)

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shell(self, code: str) -> str:
        return self.run("manage.py", "shell", "-c", code)


@pytest.fixture
def project(tmp_path: Path, wheel: Path, backend: str) -> Iterator[Project]:
    with databases.fresh(backend) as url:
        yield Project(tmp_path, wheel, url)


def command(kind: str) -> list[str]:
    """Return the arguments of a block's ``python …`` line."""
    (_name, text), *_rest = blocks(kind)
    return text.strip().removeprefix("python ").split()


@pytest.mark.process
class TestFiveMinutes:
    def test_work_as_written(self, project, inbox, backend):
        project.run(*command("run"))
        where = project.shell("import django_relay; print(django_relay.__file__)")
        assert "/installed/django_relay/" in where
        register, *rest = [text for _name, text in blocks("shell")]
        secret = project.shell(register.replace("http://127.0.0.1:9000/webhooks", inbox.url)).split()[-1]
        ((_name, pay),) = blocks("pay")
        project.shell(pay)

        with project.cluster():
            (headers, body), *_more = inbox.wait_for(1)
        event = standardwebhooks.Webhook(secret).verify(body, headers)
        assert event["type"] == "invoice.paid"
        assert event["data"] == {"number": "2026-0042", "amount": "99.00"}
        for text in rest:
            project.shell(text)

    def test_api_keys_are_made_and_listed_as_written(self, project):
        project.run(*command("run"))
        ((_name, text),) = blocks("keys")
        tenant, operator, listed = (
            project.run(*shlex.split(line.removeprefix("python "))) for line in text.splitlines()
        )
        for token in (tenant, operator):
            assert re.fullmatch(r"rlk_[0-9a-z]{12}_[0-9A-Za-z]{43}\n", token)
            assert token.rpartition("_")[0] in listed
            assert token.strip() not in listed
        assert "Acme's CI" in listed

    def test_tests_work_as_written(self, project):
        ((_name, text),) = blocks("test")
        (project.folder / "billing" / "tests.py").write_text(text)
        project.run("manage.py", "test", "billing")


@pytest.mark.process
class TestBackgroundJobs:
    def test_become_events_as_written(self, project, inbox):
        project.add("jobs")
        project.run(*command("run"))
        ((_name, enqueue),) = blocks("enqueue")
        project.shell(enqueue.replace("http://127.0.0.1:9000/webhooks", inbox.url))
        with project.cluster():
            found = [json.loads(body) for _headers, body in inbox.wait_for(2)]
        ((_name, settings), *_files) = blocks("jobs")
        assert all(event["type"] in settings for event in found)
        assert {event["type"] for event in found} == {"dispatch.job.started", "dispatch.job.completed"}
        assert {event["data"]["func"] for event in found} == {"billing.tasks.remind"}
        assert {event["data"]["scope_org_id"] for event in found} == {"acme"}


class TestReceiver:
    def test_verifies_as_written(self, rf):
        from django_relay.rules import signing

        ((_name, text),) = blocks("receiver")
        names: dict = {}
        exec(compile(text, "README.md", "exec"), names)
        body = json.dumps({"type": "invoice.paid", "data": {}}).encode()
        timestamp = int(time.time())
        signature = signing.sign(names["SECRET"], webhook_id="evt_1", timestamp=timestamp, body=body)
        headers = {"webhook-id": "evt_1", "webhook-timestamp": str(timestamp), "webhook-signature": signature}
        post = {"data": body, "content_type": "application/json"}
        assert names["webhook"](rf.post("/", **post, headers=headers)).status_code == 204
        headers["webhook-id"] = "evt_2"
        assert names["webhook"](rf.post("/", **post, headers=headers)).status_code == 400


class TestWheel:
    def test_holds_every_file_of_the_package(self, wheel):
        inside = set(zipfile.ZipFile(wheel).namelist())
        tracked = subprocess.run(
            ["git", "ls-files", "django_relay"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        assert "django_relay/py.typed" in tracked
        assert any("/migrations/0001" in name for name in tracked)
        assert set(tracked) <= inside

    def test_holds_nothing_else(self, wheel):
        tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"django_relay"}
