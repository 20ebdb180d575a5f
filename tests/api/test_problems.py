"""What is not the caller's fault and mends itself: a database that is locked, or gone."""

import pytest
from django.db import connection

from django_relay.models import AuditEntry, Endpoint, writing
from tests.api.callers import Api, code_of, tenant
from tests.factories import make_endpoint
from tests.people import ALICE
from tests.unavailable import held_by_another, lose

BODY = {"url": ALICE.url, "event_types": ["*"]}


@pytest.mark.django_db(transaction=True)
class TestADatabase:
    def test_that_is_locked_is_a_503_and_nothing_was_done(self, caplog):
        alice, endpoint = tenant(), make_endpoint()
        with held_by_another():
            answers = [
                alice.post("endpoints", BODY),
                alice.patch(f"endpoints/{endpoint.pk}", {"description": "new"}),
                alice.delete(f"endpoints/{endpoint.pk}"),
            ]
            looked = alice.get(f"endpoints/{endpoint.pk}")
        for answer in answers:
            assert (answer.status_code, code_of(answer)) == (503, "database_busy")
            assert answer.headers["Retry-After"] == "5"
            assert "Try again" in answer.data["detail"]
        assert looked.status_code == 200
        assert Endpoint.objects.get().description == ""
        assert not AuditEntry.objects.filter(action__startswith="endpoint").exists()
        assert {record.event for record in caplog.records if record.name.endswith("api.problems")} == {
            "api.database_busy"
        }
        assert alice.post("endpoints", BODY).status_code == 201

    def test_that_is_gone_is_a_503_until_it_is_back(self, monkeypatch):
        alice = tenant()
        with monkeypatch.context() as patch:
            lose(patch)
            answer = alice.get("endpoints")
            assert (answer.status_code, code_of(answer)) == (503, "database_busy")
        connection.close()
        assert alice.get("endpoints").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["", "nothing", "endpoints/", "endpoints/ep_1/nothing", "v2/endpoints", "../v1/x"])
def test_a_path_that_there_is_not_is_a_problem_whoever_asks(path):
    for caller in (Api(), Api("rlk_wrong"), tenant()):
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            answer = caller.call(method, path)
            assert (answer.status_code, code_of(answer)) == (404, "not_found"), method
            assert "Its lists are endpoints" in answer.data["detail"]
            assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_a_statement_that_is_wrong_is_a_fault_of_ours():
    with pytest.raises(Exception) as caught, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM no_such_table")
    assert not writing.is_unavailable(caught.value)
