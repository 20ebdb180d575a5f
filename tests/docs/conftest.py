"""The wheel, and a newcomer's project."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.docs import pages
from tests.docs.project import Project


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=pages.ROOT, check=True, capture_output=True, timeout=120)
    return next(folder.glob("*.whl"))


@pytest.fixture
def project(tmp_path: Path, wheel: Path, backend: str) -> Iterator[Project]:
    with databases.fresh(backend) as url:
        yield Project(tmp_path, wheel, url)
