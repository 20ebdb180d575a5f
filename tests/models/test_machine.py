"""Machines and containers are told apart by more than their host's name, and their processes are known to be gone."""

import os
import platform
import subprocess
import sys

import pytest

from django_relay.models import JobRun, WorkerPresence, machine

NAME = [sys.executable, "-c", f"import runpy; print(runpy.run_path({machine.__file__!r})['name']())"]


def unshare(*arguments):
    """Return what a command prints in namespaces of its own, which few may make."""
    try:
        subprocess.run(["unshare", *arguments[: arguments.index("--")], "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"No namespaces may be made here: {error}")
    return subprocess.run(["unshare", *arguments], check=True, capture_output=True, text=True).stdout.strip()


class TestName:
    def test_is_the_same_to_all_processes_of_a_machine(self):
        assert subprocess.check_output(NAME, text=True).strip() == machine.name()

    def test_begins_with_what_people_call_it(self):
        assert machine.name().split()[0] == platform.node()

    def test_tells_containers_of_one_host_name_apart(self):
        name = unshare("--pid", "--fork", "--mount-proc", "--", *NAME)
        assert name.split()[0] == platform.node()
        assert name != machine.name()
        assert not machine.is_gone(name, pid_of_the_dead())

    @pytest.mark.parametrize("known", ["0" * 32, ""], ids=["another id", "no id"])
    def test_tells_machines_of_one_host_name_apart(self, tmp_path, known):
        if not os.path.exists("/etc/machine-id"):
            pytest.skip("This machine has no id of its own.")
        of_another = tmp_path / "machine-id"
        of_another.write_text(known)
        with_it = f'mount --bind {of_another} /etc/machine-id && exec "$@"'
        name = unshare("--mount", "--", "sh", "-c", with_it, "sh", *NAME)
        assert name.split()[0] == platform.node()
        assert name != machine.name()

    def test_fits_where_it_is_stored(self, monkeypatch):
        monkeypatch.setattr(platform, "node", lambda: "n" * 300)
        for model in (JobRun, WorkerPresence):
            assert len(machine.name()) <= model._meta.get_field("hostname").max_length


def pid_of_the_dead():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestIsGone:
    def test_what_has_ended_here(self):
        assert machine.is_gone(machine.name(), pid_of_the_dead())

    def test_not_what_lives(self):
        assert not machine.is_gone(machine.name(), os.getpid())

    def test_not_what_cannot_be_looked_at(self):
        assert not machine.is_gone("elsewhere", pid_of_the_dead())
        assert not machine.is_gone(machine.name(), None)
