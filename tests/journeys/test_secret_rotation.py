"""A secret is rotated while deliveries run: receivers verify each of them, whichever secret they know."""

from datetime import timedelta

import pytest

pytestmark = pytest.mark.process


class TestSecretRotation:
    def test_old_and_new_both_verify_while_they_overlap(self, stage):
        endpoint = stage.endpoint("/hooks")
        [old] = endpoint.secrets
        stage.receiver.answer("/hooks", 200, delay=0.01)
        stage.worker(MAX_IN_FLIGHT=4)
        stage.emit(40)
        stage.wait_for_requests(10)
        new = endpoint.rotate_secret(timedelta(seconds=60))
        stage.receiver.know("/hooks", old, new)
        stage.emit(40)
        stage.wait_until_drained()
        requests = stage.receiver.requests()
        assert len(requests) == 80
        assert all(0 in request.verified for request in requests), "who knows the old one is never refused"
        assert all(request.verified == (0, 1) for request in requests[-40:])
        print(f"\nsigned by the old one alone: {sum(request.verified == (0,) for request in requests)} of 80")

        newest = endpoint.rotate_secret(timedelta(0))
        stage.receiver.know("/hooks", old, new, newest)
        stage.emit(5)
        stage.wait_for_requests(85)
        stage.wait_until_drained()
        assert [request.verified for request in stage.receiver.requests()[80:]] == [(2,)] * 5, (
            "no overlap: the old ones ended"
        )
