"""Callers of the API: a client for each credential."""

import json

from django.test import Client

from tests.factories import make_api_key
from tests.people import ALICE

ROOT = "/webhooks/api/v1/"
JSON = "application/json"


class Api:
    """Calls the API as somebody; answers are Django's responses, with ``data`` read from JSON."""

    def __init__(self, token=None, *, client=None, **headers):
        self.client = client or Client()
        self.token = token
        self.headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **headers}

    def call(self, method, path, body=None, *, raw=None, content_type=JSON, headers=None, query=None):
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        path = path if path.startswith("/") else ROOT + path
        answer = self.client.generic(
            method,
            path,
            data,
            content_type=content_type,
            headers={**self.headers, **(headers or {})},
            query_params=query,
        )
        kind = answer.headers.get("Content-Type", "")
        answer.data = json.loads(answer.content) if "json" in kind and answer.content else None
        return answer

    def get(self, path, **query):
        return self.call("GET", path, query=query or None)

    def post(self, path, body=None, **kwargs):
        return self.call("POST", path, body, **kwargs)

    def put(self, path, body=None, **kwargs):
        return self.call("PUT", path, body, **kwargs)

    def patch(self, path, body=None, **kwargs):
        return self.call("PATCH", path, body, **kwargs)

    def delete(self, path, **query):
        return self.call("DELETE", path, query=query or None)


def tenant(person=ALICE, scopes=("read", "write", "replay", "secrets"), **values):
    return Api(make_api_key(person, scopes=scopes, **values)[1])


def operator(scopes=("read", "write", "replay", "secrets", "portal", "events:send"), **values):
    return Api(make_api_key(operator=True, scopes=scopes, **values)[1])


def code_of(answer):
    """Return a problem's code, after a look at its form (RFC 9457)."""
    assert answer.headers["Content-Type"] == "application/problem+json", (answer.status_code, answer.content[:500])
    assert answer.data["status"] == answer.status_code
    assert {"type", "title", "status", "code", "detail"} <= answer.data.keys()
    return answer.data["code"]
