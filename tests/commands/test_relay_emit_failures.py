"""The command that emits kept failures again."""

from io import StringIO

import pytest
from django.core.management import call_command

from django_relay.models import Event, PublishFailure
from tests.factories import make_event_type
from tests.pipeline.test_publish_failures import make_failure

pytestmark = pytest.mark.django_db


def run(*arguments):
    output, errors = StringIO(), StringIO()
    call_command("relay_emit_failures", *arguments, stdout=output, stderr=errors)
    return output.getvalue().strip(), errors.getvalue()


class TestCommand:
    def test_emits_what_can_be_emitted_now_and_says_what_cannot(self):
        make_failure()
        lost = make_failure(data=object())
        make_failure("still.unknown")
        make_event_type("late.comer")
        assert run()[0] == "1 emitted, 2 failed, 0 passed over"
        assert [event.event_type for event in Event.objects.all()] == ["late.comer"]
        said, errors = run()
        assert said == "0 emitted, 2 failed, 0 passed over"
        assert f"{lost.pk} late.comer: What was kept of this event is not enough" in errors
        assert "There is no event type 'still.unknown'" in errors

    def test_only_says_so_when_dry(self):
        make_failure()
        make_event_type("late.comer")
        assert run("--dry-run")[0] == "1 would be emitted, 0 failed, 0 passed over"
        assert not Event.objects.exists()
        assert not PublishFailure.objects.exclude(emitted_at=None).exists()

    def test_takes_only_one_type_when_told(self):
        make_failure()
        make_failure("other.comer")
        make_event_type("late.comer")
        make_event_type("other.comer")
        assert run("--event-type", "other.comer")[0] == "1 emitted, 0 failed, 0 passed over"
