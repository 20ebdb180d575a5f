"""The receiver: it verifies, writes down and answers as told."""

import hashlib
import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from standardwebhooks import Webhook

from example_project.receiver.remote import Receiver

pytestmark = pytest.mark.process

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"type":"invoice.paid","data":{"number":"Ä-1"}}'


@pytest.fixture
def receiver(tmp_path: Path):
    with Receiver(tmp_path / "records.jsonl", secret=SECRET) as receiver:
        yield receiver


def send(receiver: Receiver, *, event_id: str = "evt_1", body: str = BODY, secret: str = SECRET) -> int:
    now = datetime.now(UTC)
    headers = {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, now.replace(tzinfo=None), BODY),
        "webhook-attempt": "2",
        "content-type": "application/json",
    }
    try:
        with urlopen(Request(f"{receiver.url}hooks", data=body.encode(), headers=headers), timeout=20) as response:
            return response.status
    except HTTPError as error:
        with error:
            return error.code


def wait_until(condition) -> None:
    ends_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def test_it_writes_down_what_it_verified(receiver):
    assert send(receiver) == 200
    [record] = receiver.records()
    assert (record.path, record.id, record.attempt) == ("/hooks", "evt_1", 2)
    assert (record.verified, record.answer) == (True, 200)
    assert record.sha256 == hashlib.sha256(BODY.encode()).hexdigest()
    assert abs((datetime.now(UTC) - datetime.fromisoformat(record.at)).total_seconds()) < 60


@pytest.mark.parametrize("forged", [{"body": "{}"}, {"secret": "whsec_" + "A" * 32}])
def test_it_refuses_what_it_cannot_verify(receiver, forged):
    assert send(receiver, **forged) == 401
    [record] = receiver.records()
    assert (record.verified, record.answer) == (False, 401)


def test_without_a_secret_nothing_is_verified(receiver):
    receiver.tell(secret="")
    assert send(receiver, body="{}") == 200
    assert receiver.records()[0].verified is None


def test_it_answers_as_told(receiver):
    for status in (500, 410, 200):
        receiver.tell(answer=status)
        assert send(receiver) == status
    assert [record.answer for record in receiver.records()] == [500, 410, 200]


def test_it_answers_slowly_when_told(receiver):
    receiver.tell(delay=0.3)
    started = time.monotonic()
    assert send(receiver) == 200
    assert time.monotonic() - started >= 0.3


def test_it_holds_requests_open_until_told_otherwise(receiver):
    receiver.tell(hold=True)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(send(receiver))) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: receiver.state()["held"] == 3)
    assert len(receiver.records()) == 3  # written down before they are answered
    assert answers == []
    receiver.tell(hold=False)
    for thread in threads:
        thread.join(10)
    assert answers == [200, 200, 200]


def test_it_can_lose_what_it_accepted(receiver):
    assert receiver.tell(record=False)["record"] is False
    assert send(receiver) == 200
    assert receiver.records() == []
    assert receiver.state()["received"] == 1


def test_it_comes_back_on_its_port_with_its_log(receiver):
    send(receiver)
    receiver.stop()
    with Receiver(receiver.log, secret=SECRET, port=receiver.port) as again:
        assert again.port == receiver.port
        send(again, event_id="evt_2")
        assert [record.id for record in again.records()] == ["evt_1", "evt_2"]


def test_it_never_tells_its_secret(receiver):
    assert "secret" not in receiver.tell(secret=SECRET)


def test_it_says_what_it_does_not_understand(receiver):
    with pytest.raises(HTTPError) as refused:
        receiver.tell(anwser=500)
    with refused.value as error:
        assert error.code == 400
        assert "anwser" in error.read().decode()


def test_a_receiver_that_cannot_start_says_why(receiver, tmp_path: Path):
    with pytest.raises(RuntimeError, match="Address already in use"):
        Receiver(tmp_path / "other.jsonl", port=receiver.port)


def test_its_first_line_is_json(receiver):
    ready = json.loads((receiver.log.with_suffix(".out")).read_text().splitlines()[0])
    assert ready == {"url": receiver.url, "port": receiver.port, "pid": receiver.process.pid}
