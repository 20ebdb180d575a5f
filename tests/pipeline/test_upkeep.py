import uuid
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from django_relay.models import (
    ApiKey,
    Attempt,
    AuditEntry,
    Delivery,
    DLQEntry,
    EndpointHour,
    Event,
    JobRun,
    PortalSession,
    PublishFailure,
    Replay,
    SigningSecret,
    WorkerPresence,
)
from django_relay.pipeline import dlq, leases, upkeep
from tests.factories import (
    USING,
    make_api_key,
    make_attempt,
    make_delivery,
    make_dlq_entry,
    make_endpoint,
    make_event,
    make_link,
    make_portal_session,
    make_replay,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


def chore(name, now=None):
    return upkeep.CHORES[name](now=now or timezone.now(), using=USING)


def tidy_all(now=None):
    return list(upkeep.tidy_all(now=now or timezone.now(), using=USING))


def make_presence(**values):
    return WorkerPresence.objects.create(runner="process", hostname="h", pid=1, **values)


def make_failure(**values):
    return PublishFailure.objects.create(event_type="a", arguments={}, error="e", **values)


def make_job_run(**values):
    return JobRun.objects.create(source="django_q", job_id=uuid.uuid4().hex, **values)


def age(rows, days, *fields):
    moment = timezone.now() - days * DAY
    rows.update(**dict.fromkeys(fields, moment))


class TestEvents:
    def test_the_old_and_settled_go(self):
        old = make_delivery(state="delivered").event
        young = make_delivery(state="delivered").event
        age(Event.objects.filter(pk=old.pk), 31, "created_at")
        age(Event.objects.filter(pk=young.pk), 29, "created_at")
        assert chore("events") == 1
        assert list(Event.objects.all()) == [young]

    def test_events_nobody_wanted_go_too(self):
        make_event()
        Event.objects.update(status="no_match", created_at=timezone.now() - 31 * DAY)
        assert chore("events") == 1

    def test_the_outbox_never_goes(self):
        make_event()
        age(Event.objects, 400, "created_at")
        assert chore("events") == 0

    def test_an_event_with_a_pending_delivery_never_goes(self):
        delivery = make_delivery()
        make_delivery(event=delivery.event, endpoint=make_endpoint(), state="delivered")
        age(Event.objects, 400, "created_at")
        assert chore("events") == 0

    def test_an_event_in_the_dlq_outlives_its_retention(self):
        entry = make_dlq_entry()
        age(Event.objects, 80, "created_at")
        age(Delivery.objects, 80, "created_at", "completed_at")
        age(DLQEntry.objects, 80, "failed_at")
        assert tidy_all() == []
        assert dlq.replay(entry).state == "pending"

    def test_even_when_its_entry_was_discarded_it_goes_with_the_entry(self):
        entry = make_dlq_entry()
        dlq.discard(entry)
        age(Event.objects, 91, "created_at")
        age(DLQEntry.objects, 91, "failed_at")
        assert chore("events") == 0
        assert chore("DLQ entries") == 1
        assert chore("events") == 1

    def test_the_retention_is_a_setting(self):
        make_delivery(state="delivered")
        age(Event.objects, 3, "created_at")
        with relay(EVENT_RETENTION_DAYS=4):
            assert chore("events") == 0
        with relay(EVENT_RETENTION_DAYS=2):
            assert chore("events") == 1


class TestAttempts:
    def test_the_old_of_settled_deliveries_go(self):
        delivery = make_delivery(state="delivered")
        old = make_attempt(delivery, started_at=timezone.now() - 31 * DAY)
        young = make_attempt(delivery, started_at=timezone.now() - 29 * DAY)
        assert chore("attempts") == 1
        assert list(Attempt.objects.all()) == [young]
        assert old not in Attempt.objects.all()

    def test_those_of_pending_deliveries_and_of_the_dlq_stay(self):
        make_attempt(make_delivery(), started_at=timezone.now() - 400 * DAY)
        make_attempt(make_dlq_entry().delivery, started_at=timezone.now() - 400 * DAY)
        assert chore("attempts") == 0

    def test_those_of_deliveries_that_are_gone_go(self):
        make_attempt(make_delivery(state="delivered"), started_at=timezone.now() - 31 * DAY)
        Delivery.objects.all().delete()
        assert chore("attempts") == 1


class TestDeliveries:
    def test_the_old_and_settled_go(self):
        old = make_delivery(state="delivered")
        young = make_delivery(state="cancelled")
        age(Delivery.objects.filter(pk=old.pk), 91, "created_at", "completed_at")
        age(Delivery.objects.filter(pk=young.pk), 89, "created_at", "completed_at")
        assert chore("deliveries") == 1
        assert list(Delivery.objects.all()) == [young]

    def test_what_was_settled_lately_stays_however_old(self):
        make_delivery(state="delivered")
        age(Delivery.objects, 400, "created_at")
        assert chore("deliveries") == 0

    def test_the_pending_and_the_dlqs_stay(self):
        make_delivery()
        entry = make_dlq_entry()
        age(Delivery.objects, 400, "created_at")
        age(Delivery.objects.filter(pk=entry.delivery_id), 400, "completed_at")
        assert chore("deliveries") == 0

    def test_they_stay_as_long_as_attempts(self):
        make_delivery(state="cancelled")
        age(Delivery.objects, 100, "created_at", "completed_at")
        with relay(ATTEMPT_RETENTION_DAYS=101):
            assert chore("deliveries") == 0
        with relay(ATTEMPT_RETENTION_DAYS=99):
            assert chore("deliveries") == 1

    def test_one_with_attempts_or_a_replay_under_way_waits_for_them(self):
        delivery = make_delivery(state="failed")
        make_attempt(delivery)
        replayed = make_delivery(state="failed")
        make_delivery(event=replayed.event, endpoint=replayed.endpoint, replay_of=replayed)
        age(Delivery.objects.filter(state="failed"), 400, "created_at", "completed_at")
        assert chore("deliveries") == 0
        Attempt.objects.all().delete()
        assert chore("deliveries") == 1


class TestDLQ:
    def test_the_old_go(self):
        make_dlq_entry(), make_dlq_entry(failed_at=timezone.now() - 91 * DAY)
        assert chore("DLQ entries") == 1
        assert DLQEntry.objects.count() == 1

    def test_never_younger_than_30_days_even_when_set_lower(self):
        make_dlq_entry(failed_at=timezone.now() - 29 * DAY)
        old = make_dlq_entry(failed_at=timezone.now() - 31 * DAY)
        with relay(DLQ_RETENTION_DAYS=1):
            assert chore("DLQ entries") == 1
        assert old not in DLQEntry.objects.all()

    def test_an_entry_whose_replay_is_under_way_stays(self):
        entry = make_dlq_entry(failed_at=timezone.now() - 400 * DAY)
        delivery = dlq.replay(entry)
        assert chore("DLQ entries") == 0
        Delivery.objects.filter(pk=delivery.pk).update(state="delivered", completed_at=timezone.now())
        assert chore("DLQ entries") == 1


class TestStranded:
    def test_deliveries_of_a_deleted_endpoint_are_cancelled_in_batches(self):
        endpoint, kept, now = make_endpoint(), make_delivery(), timezone.now()
        for _ in range(5):
            make_delivery(endpoint=endpoint)
        settled = make_delivery(endpoint=endpoint, state="delivered")
        endpoint.delete()
        with relay(RETENTION_BATCH=2):
            assert [chore("cancelled deliveries", now) for _ in range(4)] == [2, 2, 1, 0]
        assert Delivery.objects.filter(state="cancelled", completed_at=now).count() == 5
        assert set(Delivery.objects.exclude(state="cancelled")) == {kept, settled}

    def test_a_disabled_endpoints_are_held_not_cancelled(self):
        make_delivery().endpoint.disable()
        assert chore("cancelled deliveries") == 0

    def test_a_request_under_way_is_waited_for(self):
        delivery, now = make_delivery(), timezone.now()
        leases.claim(1, now=now, using=USING)
        delivery.endpoint.delete()
        assert chore("cancelled deliveries", now + timedelta(seconds=44)) == 0
        assert chore("cancelled deliveries", now + timedelta(seconds=45)) == 1
        delivery.refresh_from_db()
        assert (delivery.state, delivery.lease_token, delivery.leased_until) == ("cancelled", None, None)


class TestSecretsAndTheRest:
    def test_secrets_whose_overlap_is_over_are_destroyed(self):
        endpoint, now = make_endpoint(), timezone.now()
        endpoint.rotate_secret(timedelta(hours=1))
        assert chore("signing secrets", now) == 0
        assert chore("signing secrets", now + timedelta(hours=2)) == 1
        assert [secret.expires_at for secret in SigningSecret.objects.all()] == [None]

    def test_old_publish_failures_go(self):
        make_failure(created_at=timezone.now() - 91 * DAY)
        young = make_failure()
        assert chore("publish failures") == 1
        assert list(PublishFailure.objects.all()) == [young]

    def test_workers_that_vanished_are_forgotten(self):
        make_presence(seen_at=timezone.now() - timedelta(minutes=11))
        alive = make_presence(seen_at=timezone.now())
        assert chore("workers") == 1
        assert list(WorkerPresence.objects.all()) == [alive]


class TestEndpointHours:
    def test_the_old_go(self):
        endpoint, now = make_endpoint(), timezone.now()
        old = EndpointHour.objects.create(endpoint=endpoint, hour=now - 91 * DAY)
        young = EndpointHour.objects.create(endpoint=endpoint, hour=now - 89 * DAY)
        assert chore("endpoint hours") == 1
        assert list(EndpointHour.objects.all()) == [young]
        assert old != young

    def test_how_long_is_a_setting(self):
        EndpointHour.objects.create(endpoint=make_endpoint(), hour=timezone.now() - 8 * DAY)
        with relay(HOUR_RETENTION_DAYS=9):
            assert chore("endpoint hours") == 0
        with relay(HOUR_RETENTION_DAYS=7):
            assert chore("endpoint hours") == 1


class TestApiKeys:
    def test_the_revoked_and_the_expired_go_once_they_are_old(self):
        now = timezone.now()
        revoked, expired, young, live = (make_api_key()[0] for _ in range(4))
        age(ApiKey.objects.filter(pk=revoked.pk), 91, "revoked_at")
        age(ApiKey.objects.filter(pk=expired.pk), 91, "expires_at")
        age(ApiKey.objects.filter(pk=young.pk), 89, "revoked_at")
        assert chore("API keys", now) == 2
        assert set(ApiKey.objects.all()) == {young, live}

    def test_how_long_is_a_setting(self):
        make_api_key()[0].revoke(now=timezone.now() - 8 * DAY)
        with relay(API_KEY_RETENTION_DAYS=9):
            assert chore("API keys") == 0
        with relay(API_KEY_RETENTION_DAYS=7):
            assert chore("API keys") == 1


class TestPortalSessions:
    def test_the_ended_go_once_they_are_old_whether_used_or_not(self):
        long_ago = timezone.now() - 31 * DAY
        make_link(now=long_ago)
        make_portal_session(now=long_ago)
        make_portal_session(now=long_ago)[0].revoke(now=long_ago)
        kept = [make_link()[0], make_portal_session()[0], make_portal_session(now=long_ago + 2 * DAY)[0]]
        assert chore("portal sessions") == 3
        assert set(PortalSession.objects.all()) == set(kept)


class TestAuditEntries:
    def test_go_after_a_year_and_by_upkeep_alone(self):
        make_link(now=timezone.now() - 366 * DAY)
        make_link(now=timezone.now() - 364 * DAY)
        old, young = AuditEntry.objects.order_by("at")
        assert chore("audit entries") == 1
        assert list(AuditEntry.objects.all()) == [young]
        assert old != young


class TestReplays:
    def test_those_that_ended_long_ago_go(self):
        make_replay(state="completed", completed_at=timezone.now() - 91 * DAY)
        young = make_replay(state="cancelled", completed_at=timezone.now() - 89 * DAY)
        running = make_replay(state="running", created_at=timezone.now() - 400 * DAY)
        assert chore("replays") == 1
        assert set(Replay.objects.all()) == {young, running}


class TestJobRuns:
    def test_those_of_which_nothing_was_heard_for_long_are_forgotten(self):
        make_job_run(updated_at=timezone.now() - 8 * DAY)
        heard = make_job_run(updated_at=timezone.now() - 6 * DAY)
        assert chore("job runs") == 1
        assert list(JobRun.objects.all()) == [heard]

    def test_how_long_is_a_setting(self):
        make_job_run(updated_at=timezone.now() - 8 * DAY)
        with relay(JOB_RETENTION_DAYS=9):
            assert chore("job runs") == 0


class TestTidy:
    def make_all_kinds(self, count):
        """Make ``count`` rows for each chore, and one that must stay beside each kind."""
        long_ago = timezone.now() - 400 * DAY
        endpoint = make_endpoint()
        for _ in range(count):
            make_delivery(endpoint=endpoint)
        endpoint.delete()
        live = make_endpoint()
        for _ in range(count):
            live.rotate_secret()
        SigningSecret.objects.filter(expires_at__isnull=False).update(expires_at=long_ago)
        for _ in range(count):
            make_failure(created_at=long_ago)
            make_presence(seen_at=long_ago)
            make_api_key()
            make_link(now=long_ago)  # leaves an audit entry as old
            make_replay(state="completed", completed_at=long_ago)
            EndpointHour.objects.create(endpoint=make_endpoint(), hour=long_ago)
            make_job_run(updated_at=long_ago)
            make_attempt(make_dlq_entry(failed_at=long_ago).delivery, started_at=long_ago)
        ApiKey.objects.update(expires_at=long_ago)
        Delivery.objects.filter(state="failed").update(created_at=long_ago, completed_at=long_ago)
        Event.objects.filter(deliveries__state="failed").update(created_at=long_ago)

    def test_every_chore_works_in_batches_until_nothing_is_left(self):
        self.make_all_kinds(5)
        with relay(RETENTION_BATCH=2):
            done = tidy_all()
        assert [name for name, _touched in done] == [name for name in upkeep.CHORES for _ in range(3)]
        assert [touched for _name, touched in done] == [2, 2, 1] * len(upkeep.CHORES)
        assert (Attempt.objects.count(), DLQEntry.objects.count(), PublishFailure.objects.count()) == (0, 0, 0)

    def test_twice_is_a_no_op(self):
        self.make_all_kinds(1)
        assert tidy_all()
        before = [list(model.objects.order_by("pk").values()) for model in (Event, Delivery, SigningSecret)]
        assert tidy_all() == []
        assert [list(model.objects.order_by("pk").values()) for model in (Event, Delivery, SigningSecret)] == before

    def test_one_round_does_one_batch_of_each(self):
        self.make_all_kinds(3)
        with relay(RETENTION_BATCH=2):
            assert upkeep.tidy(now=timezone.now(), using=USING) == 0  # there is more to do now
            assert SigningSecret.objects.expired(timezone.now()).count() == 1
            assert upkeep.tidy(now=timezone.now(), using=USING) == upkeep.ROUND_SECONDS

    def test_nothing_that_is_pending_or_in_the_dlq_is_ever_touched(self):
        pending, entry = make_delivery(), make_dlq_entry()
        make_attempt(pending, started_at=timezone.now() - 60 * DAY)
        make_attempt(entry.delivery, started_at=timezone.now() - 60 * DAY)
        outbox = make_event()
        age(Event.objects, 60, "created_at")
        age(Delivery.objects, 100, "created_at")
        age(Delivery.objects.filter(state="failed"), 100, "completed_at")
        age(DLQEntry.objects, 60, "failed_at")
        assert tidy_all() == []
        assert Event.objects.count() == 3
        assert outbox in Event.objects.pending()
        assert Attempt.objects.count() == 2


class TestWhatIsKeptInFront:
    """With batches of 2 a look goes through 20 rows."""

    @pytest.fixture(autouse=True)
    def _small_batches(self):
        upkeep._places.clear()
        with relay(RETENTION_BATCH=2):
            yield
        upkeep._places.clear()

    def attempts(self, delivery, count, days, *, step=timedelta(seconds=1)):
        first = timezone.now() - days * DAY
        for number in range(count):
            make_attempt(delivery, number=number + 1, started_at=first + number * step)

    def looks(self, name, count):
        return [chore(name) for _ in range(count)]

    def test_is_gone_past_part_by_part_and_then_looked_at_again(self):
        entry = make_dlq_entry()
        self.attempts(entry.delivery, 45, 60)
        self.attempts(make_delivery(state="delivered"), 3, 50)
        assert self.looks("attempts", 5) == [0, 0, 2, 1, 0]
        assert Attempt.objects.count() == 45
        entry.delete()
        assert sum(self.looks("attempts", 30)) == 45

    def test_is_gone_past_by_its_own_chore_only(self):
        entry = make_dlq_entry()
        self.attempts(entry.delivery, 25, 60)
        assert self.looks("attempts", 1) == [0]
        assert set(upkeep._places) == {("attempts", USING)}

    def test_is_looked_at_soon(self):
        self.attempts(make_dlq_entry().delivery, 25, 60)
        waits = [upkeep.tidy(now=timezone.now(), using=USING) for _ in range(3)]
        assert waits == [2, upkeep.ROUND_SECONDS, 2]

    def test_of_one_moment_is_gone_past_at_once(self):
        self.attempts(make_dlq_entry().delivery, 45, 60, step=timedelta(0))
        self.attempts(make_delivery(state="delivered"), 1, 50)
        assert self.looks("attempts", 2) == [0, 1]

    def test_is_gone_past_where_all_is_to_be_done(self):
        self.attempts(make_dlq_entry().delivery, 45, 60)
        self.attempts(make_delivery(state="delivered"), 3, 50)
        chore("attempts")
        assert sum(touched for _name, touched in tidy_all()) == 3
        assert upkeep._places == {}

    @pytest.mark.parametrize("name", ["deliveries", "events"])
    def test_is_gone_past_of_deliveries_and_events(self, name):
        for _ in range(25):
            make_dlq_entry()
        for _ in range(3):
            make_delivery(state="delivered")
        age(Delivery.objects.filter(state="failed"), 101, "created_at", "completed_at")
        age(Event.objects.filter(deliveries__state="failed"), 101, "created_at")
        age(Delivery.objects.filter(state="delivered"), 100, "created_at", "completed_at")
        age(Event.objects.filter(deliveries__state="delivered"), 100, "created_at")
        model = Delivery if name == "deliveries" else Event
        for number, row in enumerate(model.objects.order_by("created_at", "pk")):
            model.objects.filter(pk=row.pk).update(created_at=row.created_at + timedelta(seconds=number))
        assert self.looks(name, 2)[0] == 0
        chore(name)
        assert model.objects.count() == 25
