"""The README's five minutes, and what the pages after it do with that project, done word for word by a newcomer."""

import json
import re
import shlex
import subprocess
import time
import zipfile

import pytest

from tests.docs import pages
from tests.docs.project import free_port, wait_for

ACCESS, JOBS, LOGS = "docs/how-to/access.md", "docs/how-to/jobs.md", "docs/reference/signals-and-logs.md"
MODELS, PRODUCTION, TESTING = "docs/how-to/model-changes.md", "docs/how-to/production.md", "docs/how-to/testing.md"


@pytest.mark.process
class TestNewcomer:
    """One project a database: making one takes longer than most pages."""

    def test_does_all_as_written(self, project, backend):
        receiver = five_minutes(project)
        the_customers_side(project)
        for page in ("docs/how-to/every-day.md", ACCESS):
            project.shell(*(text for _name, text in pages.blocks("shell", page=page)))
        if backend == "postgres":
            production(project)
            return
        # What these rest on is tested on both databases elsewhere.
        api_keys(project)
        model_changes(project)
        jobs(project, receiver)
        project.append("billing/tests.py", pages.block("test", page=TESTING))
        project.bash("python manage.py test billing")


def five_minutes(project):
    """The README up to the first webhook; return how its receiver is run."""
    project.bash(pages.block("run"))
    assert "/installed/django_relay/" in project.shell("import django_relay; print(django_relay.__file__)")
    port = str(free_port())
    (_name, register), (_name, look) = pages.blocks("shell")
    secret = project.shell(register.replace("9000", port)).strip()
    source = project.folder / "receiver.py"
    source.write_text(source.read_text().replace("9000", port))
    receiver = pages.block("receiver").replace("whsec_…", secret).strip()
    with (
        project.running(receiver, log="receiver.log") as received,
        project.running(pages.block("worker"), log="worker.log"),
    ):
        project.shell(pages.block("pay"))
        wait_for(received, "invoice.paid {'number': '2026-0042', 'amount': '99.00'}")
    told = project.shell(look)
    assert re.search(rf"^invoice\.paid http://127\.0\.0\.1:{port}/webhooks delivered", told, re.MULTILINE)
    assert re.search(r"^1 204", told, re.MULTILINE)
    return receiver


def the_customers_side(project):
    """The portal's link and the API's call."""
    project.add("manage")
    port = str(free_port())
    with project.running(f"python manage.py runserver --noreload {port}", log="site.log") as log:
        wait_for(log, "Quit the server")
        link = project.bash(pages.block("link").replace("8000", port)).strip()
        assert "webhooks/" in link
        assert "relay" in project.bash(f"curl -sf {shlex.quote(link)}")
        found = json.loads(project.bash(pages.block("call").replace("8000", port)))
    assert [endpoint["event_types"] for endpoint in found["data"]] == [["invoice.*"]]


def api_keys(project):
    """How keys are made and listed, and who is let in without one."""
    tenant, operator, listed = (project.bash(line) for line in pages.block("keys", page=ACCESS).splitlines())
    for token in (tenant, operator):
        assert re.fullmatch(r"rlk_[0-9a-z]{12}_[0-9A-Za-z]{43}\n", token)
        assert token.rpartition("_")[0] in listed
        assert token.strip() not in listed
    assert "Acme's CI" in listed
    project.add("resolver", page=ACCESS)


def model_changes(project):
    project.add("file", page=MODELS)
    assert "not yet reflected in a migration" not in project.bash(pages.block("run"))
    project.shell(*(text for _name, text in pages.blocks("shell", page=MODELS)))


def jobs(project, receiver):
    project.add("jobs", page=JOBS)
    project.add("logging", page=LOGS)
    project.bash(pages.block("run"))
    port = re.search(r"[0-9]{4,}", (project.folder / "receiver.py").read_text())[0]
    secret = project.shell(pages.block("enqueue", page=JOBS).replace("9000", port)).strip()
    receiver = re.sub(r"SECRET=\S+", f"SECRET={secret}", receiver)
    with (
        project.running(receiver, log="receiver.log") as received,
        project.running(pages.block("worker"), log="worker.log") as log,
    ):
        told = wait_for(received, "dispatch.job.completed {")
        assert "delivery.attempted" in wait_for(log, "delivery.attempted")
    assert "dispatch.job.started {" in told
    assert "'func': 'billing.tasks.remind'" in told
    assert "'scope_org_id': 'acme'" in told


def production(project):
    project.add("production", page=PRODUCTION)
    assert "django_relay." not in project.bash("python manage.py check --deploy 2>&1")


class TestReceiver:
    def test_verifies_as_written(self, rf):
        from django_relay.rules import signing

        text = pages.block("receiver", page="docs/how-to/receive.md")
        names: dict = {}
        exec(compile(text, "receive.md", "exec"), names)
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
            ["git", "ls-files", "django_relay"], cwd=pages.ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        assert "django_relay/py.typed" in tracked
        assert any("/migrations/0001" in name for name in tracked)
        assert set(tracked) <= inside

    def test_holds_nothing_else(self, wheel):
        tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"django_relay"}
