"""What is done once a transaction has committed."""

import logging

import pytest
from django.db import transaction

from django_relay.models import writing
from tests.factories import USING


@pytest.mark.django_db(transaction=True)
class TestAfterCommit:
    def test_calls_with_the_arguments_once_it_has_committed(self):
        heard = []
        with transaction.atomic():
            writing.after_commit(heard.append, "told", using=USING)
            assert heard == []
        assert heard == ["told"]

    def test_never_when_it_was_rolled_back(self):
        heard = []
        with transaction.atomic():
            writing.after_commit(heard.append, "told", using=USING)
            transaction.set_rollback(True)
        assert heard == []

    def test_an_error_is_logged_and_stops_nobody(self, caplog):
        heard = []
        with caplog.at_level(logging.ERROR), transaction.atomic():
            writing.after_commit(int, "no number", using=USING)
            writing.after_commit(heard.append, "told", using=USING)
        assert heard == ["told"]
        assert "no number" in caplog.text
