"""A newcomer's project: new, with the package installed from its wheel, and nothing of this checkout on its path."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.docs import pages

_SHELL = "for text in {texts!r}:\n    exec(compile(text, 'page', 'exec'), {{'__name__': 'page'}})"
"""Each block begins with nothing that another one has named."""


class Project:
    """A folder in which the documents are done word for word; the README's files are in it from the start."""

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
            "PYTHONUNBUFFERED": "1",
            "no_proxy": "*",
        }
        self.bash(pages.block("project"))
        if database_url.startswith("postgresql"):
            from example_project.settings import database

            self.append("mysite/settings.py", f"DATABASES = {{'default': {database(database_url)!r}}}\n")
        self.add("file")
        self.append("mysite/settings.py", 'DJANGO_RELAY["PASS_SECONDS"] = 2\n')  # a qcluster stops when its passes end
        self.environment["RELAY_KEY"] = self.bash(f"{pages.block('key')}\necho $RELAY_KEY").strip()

    def append(self, name: str, text: str) -> None:
        """Write a file, or append to it."""
        with (self.folder / name).open("a") as file:
            file.write("\n" + text)

    def add(self, kind: str, *, page: str = pages.README) -> None:
        """Append a document's files of a kind."""
        for name, text in pages.blocks(kind, page=page):
            self.append(name, text)

    def bash(self, script: str, **environment: str) -> str:
        """Run lines of a shell; return what they print."""
        done = subprocess.run(
            ["bash", "-ec", script],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shell(self, *texts: str) -> str:
        """Run blocks of Python in ``manage.py shell``, each in a namespace of its own."""
        return self.bash(f"python manage.py shell -v 0 -c {shlex.quote(_SHELL.format(texts=texts))}")

    @contextlib.contextmanager
    def running(self, script: str, *, log: str, **environment: str) -> Iterator[Path]:
        """Run a line of a shell beside the test; give the file of what it prints. SIGINT, as Ctrl-C, ends it."""
        path = self.folder.parent / log
        with path.open("w") as output:
            process = subprocess.Popen(
                ["bash", "-ec", f"exec env {script}"],
                cwd=self.folder,
                env=self.environment | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                yield path
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(60)


def wait_for(path: Path, text: str) -> str:
    """Return what stands in a file once that holds the text; fail after half a minute."""
    until = time.monotonic() + 30
    while text not in (found := path.read_text()):
        assert time.monotonic() < until, f"there is no {text!r} in: {found}"
        time.sleep(0.1)
    return found


def free_port() -> int:
    """Return a port that nobody listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
