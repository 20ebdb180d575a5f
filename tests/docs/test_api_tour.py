"""The tour of the API, its curl commands run word for word against a server."""

import json
import re
import subprocess

import pytest

from tests.docs import pages
from tests.factories import make_api_key


def commands():
    for _name, text in pages.blocks("api", page="docs/reference/api.md"):
        joined = re.sub(r"\\\n\s*", " ", text)
        yield from (line for line in joined.splitlines() if line.strip())


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
class TestTour:
    def test_works_as_written(self, live_server, monkeypatch):
        from django_relay.api import endpoint_tests

        monkeypatch.setattr(endpoint_tests, "WAIT_SECONDS", 0.2)  # no worker runs here
        scopes = ["read", "write", "replay", "secrets", "events:send"]
        environment = {
            "PATH": "/usr/bin:/bin",
            "API": f"{live_server.url}/webhooks/api/v1",
            "OPERATOR_KEY": make_api_key(operator=True, scopes=scopes)[1],
            "no_proxy": "*",
        }
        answers = []
        for command in commands():
            shown = subprocess.run(
                ["bash", "-c", re.sub(r"\s+#.*$", "", command)], env=environment, capture_output=True, text=True,
                timeout=60, check=True,
            ).stdout  # fmt: skip
            answer = json.loads(shown)
            assert "code" not in answer, (command, answer)
            answers.append(answer)
            if "key" in answer:
                environment["KEY"] = answer["key"]
            if str(answer.get("id", "")).startswith("ep_"):
                environment["ENDPOINT"] = answer["id"]
        key, event_type, endpoint, test, event, deliveries, stats, count, rotated = answers
        assert key["scopes"] == ["read", "write", "replay", "secrets"]
        assert event_type["name"] == event["event_type"] == "invoice.paid"
        assert endpoint["secret"] in {item["secret"] for item in rotated["secrets"]}
        assert test["event_id"].startswith("evt_")
        assert (deliveries["data"], deliveries["has_more"]) == ([], False)
        assert (len(stats["buckets"]), count) == (24, {"count": 0})
