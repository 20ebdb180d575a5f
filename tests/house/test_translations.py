"""Every text of pages and models is there in German, and what is compiled is what is written."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import django_relay

PACKAGE = Path(django_relay.__file__).parent
CATALOG = Path("locale/de/LC_MESSAGES")
_MESSAGE = re.compile(
    r'^((?:#.*\n)*)msgid "(.*)"\n((?:".*"\n)*)(?:msgid_plural .*\n)?((?:msgstr.*\n(?:".*"\n)*)+)', re.MULTILINE
)


@pytest.fixture
def gettext():
    if shutil.which("xgettext") is None:
        pytest.fail("This test needs gettext: apt-get install -y gettext. To leave it out: -m 'not process'.")


def messages(path):
    return {(found[2], found[3]): found for found in _MESSAGE.finditer(path.read_text() + "\n") if found[2] or found[3]}


def test_nothing_is_left_untranslated():
    for (text, _more), found in messages(PACKAGE / CATALOG / "django.po").items():
        assert "fuzzy" not in found[1], text
        assert not re.search(r'msgstr(?:\[\d\])? ""\n(?!")', found[4]), text


@pytest.mark.process
def test_every_text_is_in_the_catalog(tmp_path, gettext):
    copy = tmp_path / "django_relay"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.mo"))
    command = [sys.executable, "-m", "django", "makemessages", "-l", "de", "--no-wrap", "--no-location"]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    assert messages(copy / CATALOG / "django.po").keys() == messages(PACKAGE / CATALOG / "django.po").keys()


@pytest.mark.process
def test_the_compiled_catalog_is_the_written_one(tmp_path, gettext):
    compiled = tmp_path / "django.mo"
    subprocess.run(["msgfmt", "-c", "-o", compiled, PACKAGE / CATALOG / "django.po"], check=True, capture_output=True)
    assert compiled.read_bytes() == (PACKAGE / CATALOG / "django.mo").read_bytes()
