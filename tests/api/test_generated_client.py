"""docs/openapi.yaml does for generators: a client made from it alone makes ten calls."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import INVOICE, make_api_key

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Generate the client."""
    folder = tmp_path_factory.mktemp("client")
    config = folder / "config.yaml"
    config.write_text(
        "project_name_override: webhooks-client\npackage_name_override: webhooks_client\npost_hooks: []\n"
    )
    command = [
        str(Path(sys.executable).with_name("openapi-python-client")), "generate", "--path", str(ROOT / "docs/openapi.yaml"),
        "--config", str(config), "--meta", "none", "--output-path", str(folder / "webhooks_client"), "--fail-on-warning",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
class TestTenCalls:
    def test_work(self, live_server, client):
        from webhooks_client import AuthenticatedClient, models
        from webhooks_client.api.applications import applications_applications_list
        from webhooks_client.api.deliveries import deliveries_deliveries_list
        from webhooks_client.api.endpoints import (
            endpoints_endpoints_create,
            endpoints_endpoints_disable,
            endpoints_endpoints_list,
            endpoints_endpoints_partial_update,
            endpoints_endpoints_retrieve,
            endpoints_secrets_rotate,
        )  # fmt: skip
        from webhooks_client.api.events import events_events_create, events_events_retrieve

        scopes = ["read", "write", "secrets"]
        tenant = AuthenticatedClient(live_server.url, make_api_key(scopes=scopes)[1])
        operator = AuthenticatedClient(live_server.url, make_api_key(operator=True, scopes=["read", "events:send"])[1])
        with tenant, operator:
            given = models.EndpointGiven.from_dict({"url": "https://acme.example/", "event_types": ["invoice.*"]})
            endpoint = endpoints_endpoints_create.sync(client=tenant, body=given)
            assert endpoint.secret.startswith("whsec_")
            assert endpoints_endpoints_list.sync(client=tenant).data[0].id == endpoint.id
            assert endpoints_endpoints_retrieve.sync(endpoint.id, client=tenant).url == endpoint.url
            change = models.PatchedEndpointChanged.from_dict({"description": "new"})
            assert endpoints_endpoints_partial_update.sync(endpoint.id, client=tenant, body=change).description == "new"
            rotation = models.Rotation.from_dict({"overlap_seconds": 60})
            assert len(endpoints_secrets_rotate.sync(endpoint.id, client=tenant, body=rotation).secrets) == 2
            assert endpoints_endpoints_disable.sync(endpoint.id, client=tenant).enabled is False
            assert applications_applications_list.sync(client=operator).data[0].slug == "default"
            body = {
                "event_type": "invoice.paid",
                "tenant_id": "acme",
                "data": INVOICE,
            }
            event = events_events_create.sync(client=operator, body=models.EventGiven.from_dict(body))
            assert events_events_retrieve.sync(event.id, client=tenant).data == INVOICE
            assert deliveries_deliveries_list.sync(client=tenant).data == []
            problem = endpoints_endpoints_retrieve.sync("ep_unknown", client=tenant)
            assert problem.code == "not_found"
