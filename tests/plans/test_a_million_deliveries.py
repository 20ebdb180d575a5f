"""What a page costs does not depend on how many rows there are: the plans of all lists, over a million deliveries.

One history serves every surface, and so one test looks at them all.
"""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from django_relay import conf
from django_relay.models import Delivery, DLQEntry, Endpoint, Event, Replay, due, paging, rankings, statistics
from django_relay.models.lists import Owner
from django_relay.pipeline import matching, replays, upkeep
from tests.api import callers
from tests.factories import USING
from tests.models.test_list_plans import LISTS, narrowed
from tests.people import Person
from tests.plans import history
from tests.plans.reading import rows_read, selects
from tests.portal.visitors import Visitor

pytestmark = [pytest.mark.django_db, pytest.mark.process]

HISTORY = ("_event", "_delivery", "_attempt", "_dlqentry", "_auditentry")
PEOPLE = [Person("Seven", "tenant7"), Person("Crowd", "crowd")]
ORDINARY = Person("Fifty", "tenant50")
ADMIN = "/admin/django_relay/"
STATEMENTS = 12
"""How many statements of the history one page makes at most."""


def admin_pages(one, entry):
    """Return the lists that staff look at, plain, searched and narrowed down, and the pages of rows."""
    for name in ("delivery", "attempt", "event", "dlqentry", "auditentry"):
        yield f"{name}/"
        for term in ("tenant7", "tenant50", "crowd", one.pk, entry.event_id, entry.delivery_id, entry.pk, "order-13"):
            yield f"{name}/?q={term}"
        yield f"{name}/?span=24h"
    for state in Delivery.State.values:
        yield f"delivery/?state={state}"
        for term in (one.pk, "tenant7", "tenant50"):
            yield f"delivery/?state={state}&q={term}"
    yield from ("delivery/?status=5xx", "attempt/?status=5xx&q=tenant7", "event/?status=no_match")
    for state in ("open", "replayed", "discarded"):
        yield from (
            f"dlqentry/?state={state}",
            f"dlqentry/?state={state}&q=tenant7",
            f"dlqentry/?state={state}&q=crowd",
        )
    yield "auditentry/?action=api_key.created"
    for name in ("endpoint", "endpointhour", "replay", "portalsession", "apikey", "publishfailure", "signingsecret"):
        yield f"{name}/"
    yield from ("endpoint/?state=failing", "endpoint/?state=disabled", "endpoint/?q=tenant7")
    yield from (f"event/{entry.event_id}/change/", f"delivery/{entry.delivery_id}/change/")
    yield from (f"attempt/{entry.delivery_id.replace('del_', 'att_')}/change/", f"dlqentry/{entry.pk}/change/")
    yield from (f"endpoint/{one.pk}/change/", "", "?span=7d", "endpoint/tenants/")


def api_pages(one, entry, *, is_operator=False):
    """Return the lists and details that programs read of a history."""
    if is_operator:
        yield from ("stats", "health", "tenants", "tenants/tenant7")
    yield from ("events", "events?event_type=rare.one", "events?state=no_match")
    yield from ("deliveries", "deliveries?event_type=rare.one", "deliveries?status_class=5xx", "dlq", "dlq?state=open")
    yield from (f"deliveries?state={state}" for state in Delivery.State.values)
    yield from ("dlq?state=discarded", "dlq?state=replayed&status_class=5xx")
    yield from (f"events/{entry.event_id}{rest}" for rest in ("", "/deliveries", "/attempts"))
    yield from (f"deliveries/{entry.delivery_id}{rest}" for rest in ("", "/attempts"))
    yield f"dlq/{entry.pk}"
    if one.tenant_id == entry.tenant_id:
        yield from (f"endpoints/{one.pk}/{rest}" for rest in ("deliveries", "attempts", "attempts?status_class=5xx"))
        yield from (f"endpoints/{one.pk}/{rest}" for rest in ("deliveries?state=pending", "stats"))


def portal_pages(one, entry):
    """Return the pages of the portal that show a history."""
    yield from ("", "activity/", "activity/?span=30d", f"events/{entry.event_id}/")
    yield from ("logs/", "logs/?event_type=rare.one", "logs/?state=no_match", "logs/?q=order-13", "logs/?q=order-none")
    yield from (f"logs/?q={entry.delivery_id}", "dlq/", "dlq/?state=discarded", "dlq/?event_type=rare.one")
    for rest in ("", "?span=30d", "attempts/", "attempts/?status=5xx", "attempts/?event_type=rare.one", "replay/"):
        yield f"endpoints/{one.pk}/{rest}"
    lately = [f"{timezone.now() - timedelta(hours=hours):%Y-%m-%dT%H:%M}" for hours in (3, 12)]
    yield from (f"logs/export.csv?since={lately[0]}", f"logs/export.ndjson?since={lately[1]}&event_type=rare.one")


def of_models(*people):
    """Give each list of the models, its first page and its second."""
    for person in people:
        one = Endpoint.objects.filter(tenant_id=person.tenant_id).order_by("pk")[0]
        owner = Owner(one.application_id, person.tenant_id)
        for name, (list_of, filters) in LISTS.items():
            chosen = narrowed(filters, one)
            with selects() as made:
                page = list_of(owner, chosen, wanted=paging.Wanted(), using=USING)
                if page.next_cursor:
                    list_of(owner, chosen, wanted=paging.Wanted(cursor=page.next_cursor), using=USING)
            yield f"{name} ({person.tenant_id})", made, paging.DEFAULT_LIMIT


def of_admin(client, one, entry):
    for path in admin_pages(one, entry):
        with selects() as made:
            response = client.get(ADMIN + path)
        assert response.status_code == 200, (path, response.status_code)
        yield f"admin/{path}", made, paging.DEFAULT_LIMIT
        changelist = response.context.get("cl")
        if changelist is not None and changelist.older:
            with selects() as made:
                assert client.get(ADMIN + path.partition("?")[0] + changelist.older).status_code == 200
            yield f"admin/{path}, older", made, paging.DEFAULT_LIMIT


def of_api(api, one, entry, **who):
    for path in api_pages(one, entry, **who):
        with selects() as made:
            answer = api.get(path)
        assert answer.status_code == 200, (path, answer.data)
        yield f"api/{path}", made, paging.DEFAULT_LIMIT
        if cursor := answer.data.get("next_cursor"):
            with selects() as made:
                assert api.get(f"{path}{'&' if '?' in path else '?'}cursor={cursor}").status_code == 200
            yield f"api/{path}, next", made, paging.DEFAULT_LIMIT


def of_portal(visitor, one, entry):
    for path in portal_pages(one, entry):
        with selects() as made:
            response = visitor.client.get(f"/webhooks/{path}")
            assert response.status_code in {200, 302}, (path, response.status_code)
            if response.streaming:
                list(response.streaming_content)
        whole = "export" in path or "activity" in path or "events/" in path
        yield f"portal/{path}", made, paging.MAX_LIMIT if whole else 25


def of_upkeep():
    """Give each chore a day late, when there is more to do than a batch; nothing is stranded, and much was deleted."""
    application = Endpoint.objects.all()[0].application
    gone = {"tenant_id": "gone", "enabled": False, "disabled_reason": "tenant", "deleted_at": timezone.now()}
    Endpoint.objects.bulk_create(
        Endpoint(application=application, url="https://gone.example/", event_types=["*"], **gone) for _ in range(600)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE django_relay_endpoint")
    for name, chore in upkeep.CHORES.items():
        with transaction.atomic(), selects() as made:
            chore(now=timezone.now() + timedelta(days=1), using=USING)
            transaction.set_rollback(True)
        yield f"upkeep of {name}", made, conf.settings.RETENTION_BATCH


def of_replays():
    """Give what is taken of a chunk of the last day's."""
    for tenant_id in ("tenant7", "crowd"):
        one = Endpoint.objects.filter(tenant_id=tenant_id).order_by("pk")[0]
        for kind in (Replay.Kind.FAILED, Replay.Kind.MISSING, Replay.Kind.ALL):
            replay = matching.asked(
                kind, tenant_id, "default", now=timezone.now(), since=timezone.now() - timedelta(days=1), using=USING
            )
            matches = matching.of(replay, one, using=USING)
            candidates, _place = matches.page("", replays.CHUNK)
            with selects() as made:
                matches.take(candidates)
            yield f"replay {kind} ({tenant_id})", made, replays.CHUNK


def of_workers():
    """Give what every look of a worker begins with, with something to do and with nothing."""
    for now in (timezone.now(), timezone.now() - timedelta(days=400)):
        with selects() as made:
            due.work(now=now, using=USING)
        yield f"a look of {now:%Y}", made, 1


def of_all_surfaces(client):
    yield from of_models(ORDINARY, *PEOPLE)
    for person in PEOPLE:
        one = Endpoint.objects.filter(tenant_id=person.tenant_id).order_by("pk")[0]
        entry = DLQEntry.objects.filter(tenant_id=person.tenant_id, replayed_at__isnull=False).order_by("pk")[10]
        yield from of_api(callers.tenant(person), one, entry)
        yield from of_portal(Visitor(person), one, entry)
    yield from of_api(callers.operator(), one, entry, is_operator=True)
    yield from of_admin(client, one, entry)
    yield from of_replays()
    yield from of_workers()
    yield from of_upkeep()


def most_of(sql, name, shown):
    """Return how many rows a statement may read: ten times those that are shown, of each table that it joins."""
    if "upkeep" in name:
        return 10 * shown
    if f"LIMIT {rankings.OPEN_COUNTED}) AS counted" in sql:
        return (rankings.OPEN_COUNTED + 1) * Endpoint.objects.count()
    if f"LIMIT {statistics.COUNTED + 1}" in sql:  # what is counted is shown as a number
        # Most DLQ entries are open, and so those that are not are read with them. Of its own events a tenant may have
        # a tenth of everybody's, which are then read by their time.
        return (2 if "COUNT(" in sql else 10) * (statistics.COUNTED + 1)
    if "replay/" in name and "COUNT(" in sql:  # exactly what is open of the last day, among everybody's
        return 2 * DLQEntry.objects.filter(failed_at__gte=timezone.now() - timedelta(days=1)).count()
    if "export" in name:  # a window, of which the filters choose; by time again, with one more to see a moment's end
        shown = paging.LOOKS * shown + 1
    return 10 * shown * (1 + sql.count(" JOIN "))


def too_much(pages):
    """Return what of some pages reads too many rows: a text for each statement."""
    seen, wrong = set(), []
    for name, made, shown in pages:
        asked = [sql for sql in made if any(f'django_relay{table}"' in sql or f"django_relay{table} " in sql
                                            for table in HISTORY)]  # fmt: skip
        if "export" not in name and len(asked) > STATEMENTS:
            wrong.append(f"{name} makes {len(asked)} statements of the history: {asked}")
        for sql in asked:
            if sql in seen:
                continue
            seen.add(sql)
            read, plan = rows_read(sql)
            most = most_of(sql, name, shown)
            if read > most:
                wrong.append(f"{name} reads {read:.0f} rows, not {most}:\n{sql[:1500]}\n{plan[:3000]}")
    return wrong


def test_a_page_reads_at_most_ten_times_its_rows(backend, client):
    if backend != "postgres":
        pytest.skip("SQLite has no count of the rows that a plan reads; its plans are looked at with the lists")
    history.fill()
    client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    wrong = too_much(of_all_surfaces(client))
    assert not wrong, "\n\n".join(wrong)
    assert Delivery.objects.count() > history.MILLION <= Event.objects.count()
