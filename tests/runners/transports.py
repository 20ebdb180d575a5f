"""A transport for the setting TRANSPORT in these tests."""

from django_relay.testing import FakeTransport


class Recording(FakeTransport):
    """Notes what all its instances sent."""

    sent = []
    closed = 0
    status_code = 200
    broken = False

    @classmethod
    def reset(cls):
        cls.sent, cls.closed, cls.status_code, cls.broken = [], 0, 200, False

    def submit(self, request):
        if self.broken:
            raise RuntimeError("the transport broke")
        self.answers = [type(self).status_code]
        self.sent.append(request)
        super().submit(request)

    def close(self):
        type(self).closed += 1
