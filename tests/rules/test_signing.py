import base64
import inspect
import itertools
import json
import time
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix
from hypothesis import given
from hypothesis import strategies as st

from django_relay import exceptions
from django_relay.rules import signing

from . import vectors

NOW = 1_700_000_000
ID = "evt_01m80y1c0000000000000000a0"
BODY = '{"n":9007199254740993,"ü":"→"}'.encode()
# Fixed, so that every process of a parallel run collects the same tests.
OLD = "whsec_kQn9Py4y6D5tDu3ONQpsJqFxBDvTHCd6vSBlR4PIZaE="
NEW = "whsec_kSNnx9ALcJKtBawO4ib60bGkOaDr8qQmWeMDLhbnY5A="
OTHER = "whsec_W7eJeLo2n0zJVB/jcTxDiUXuRPTXKIExvgusMtq5oUk="
ASYMMETRIC = "whsk_6gB/VtYiE4hy+cbE0DdmkxjZs9um3ear43zwS9bxsWKZ02YnZPhIclH3qvXkmvhW8jXmGIyDr5JPOkSP87l2qA=="

KNOWN = {
    "webhook_id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "timestamp": 1614265330,
    "body": b'{"test": 2432232314}',
}
KNOWN_V1 = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
)
KNOWN_V1A = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
)
PYPI_LIBRARIES = [standardwebhooks.Webhook, svix.Webhook]


def sent(*secrets, webhook_id=ID, timestamp=NOW, body=BODY):
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.signature_header(
            map(signing.Signer, secrets or [OLD]), webhook_id=webhook_id, timestamp=timestamp, body=body
        ),
    }


def verify(headers, *, body=BODY, secrets=OLD, now=NOW):
    return signing.verify(body, headers, secrets, now=now)


def refused(headers, **kwargs):
    with pytest.raises(exceptions.VerificationError) as caught:
        verify(headers, **kwargs)
    return caught.value.code


def secret_of(length):
    return "whsec_" + base64.b64encode(b"k" * length).decode()


class TestGenerateSecret:
    @pytest.mark.parametrize(("scheme", "prefix", "length"), [("v1", "whsec_", 32), ("v1a", "whsk_", 64)])
    def test_it_makes_valid_secrets_of_the_scheme(self, scheme, prefix, length):
        secret = signing.generate_secret(scheme)
        assert secret.startswith(prefix)
        assert len(base64.b64decode(secret.removeprefix(prefix))) == length
        assert signing.validate_secret(secret) == secret
        assert signing.scheme_of(secret) == scheme

    def test_no_two_are_equal(self):
        assert len({signing.generate_secret() for _ in range(100)}) == 100

    def test_there_are_no_other_schemes(self):
        with pytest.raises(exceptions.InvalidSecret):
            signing.generate_secret("v2")


class TestValidateSecret:
    @pytest.mark.parametrize("case", vectors.load("secrets"))
    def test_the_catalogue(self, case):
        value = vectors.given(case)
        if case["expect"] == "accept":
            assert signing.validate_secret(value) == value
        else:
            with pytest.raises(exceptions.InvalidSecret) as caught:
                signing.validate_secret(value)
            assert caught.value.code == case["reason"]

    @pytest.mark.parametrize(("length", "valid"), [(23, False), (24, True), (64, True), (65, False), (0, False)])
    def test_24_to_64_bytes(self, length, valid):
        if valid:
            assert signing.validate_secret(secret_of(length))
        else:
            with pytest.raises(exceptions.InvalidSecret):
                signing.validate_secret(secret_of(length))

    @pytest.mark.parametrize(
        "secret",
        [
            None, 1, b"whsec_" + b"a" * 32, "", "whsec_", "whsk_", [OLD], OLD + "\n", " " + OLD, OLD.replace("_", "-", 1),
            secret_of(25).rstrip("="), secret_of(25) + "=", "whsec_" + "-_" * 16, "whsec_" + "é" * 32,
            "whsec_" + "a" * 10_000_000, "whsk_" + secret_of(32).removeprefix("whsec_"), signing.public_key(ASYMMETRIC),
        ],
        ids=itertools.count(),
    )  # fmt: skip
    def test_anything_else_is_refused(self, secret):
        with pytest.raises(exceptions.InvalidSecret) as caught:
            signing.validate_secret(secret)
        assert caught.value.code == "bad_secret"

    def test_halves_that_do_not_belong_together_are_refused(self):
        seed = base64.b64decode(ASYMMETRIC.removeprefix("whsk_"))[:32]
        with pytest.raises(exceptions.InvalidSecret):
            signing.validate_secret("whsk_" + base64.b64encode(seed + b"\1" * 32).decode())

    def test_the_message_never_shows_the_secret(self):
        with pytest.raises(exceptions.InvalidSecret) as caught:
            signing.validate_secret("whsec_c2VjcmV0")
        assert "c2VjcmV0" not in str(caught.value)


class TestPublicKey:
    def test_it_is_the_public_half(self):
        key = signing.public_key(KNOWN_V1A[0])
        assert key == "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="

    @pytest.mark.parametrize("secret", [OLD, signing.public_key(ASYMMETRIC), ""])
    def test_only_a_v1a_secret_has_one(self, secret):
        with pytest.raises(exceptions.InvalidSecret):
            signing.public_key(secret)


class TestSign:
    @pytest.mark.parametrize(("secret", "entry"), [KNOWN_V1, KNOWN_V1A])
    def test_the_known_answers(self, secret, entry):
        assert signing.sign(secret, **KNOWN) == entry

    @pytest.mark.parametrize("webhook_id", ["", "a.b", "a b", "a\n", "é", "x" * 257])
    def test_an_id_that_would_make_the_signature_ambiguous_is_refused(self, webhook_id):
        with pytest.raises(exceptions.InvalidEvent) as caught:
            signing.sign(OLD, webhook_id=webhook_id, timestamp=NOW, body=BODY)
        assert caught.value.code == "bad_event_id"

    def test_a_public_key_cannot_sign(self):
        with pytest.raises(exceptions.InvalidSecret):
            signing.sign(signing.public_key(ASYMMETRIC), webhook_id=ID, timestamp=NOW, body=BODY)


class TestSignatureHeader:
    def test_it_has_one_entry_a_secret(self):
        header = signing.signature_header(map(signing.Signer, [KNOWN_V1[0], KNOWN_V1A[0]]), **KNOWN)
        assert header == f"{KNOWN_V1[1]} {KNOWN_V1A[1]}"

    def test_nothing_is_sent_unsigned(self):
        with pytest.raises(exceptions.InvalidSecret):
            signing.signature_header([], webhook_id=ID, timestamp=NOW, body=BODY)


class TestWithTheLibrariesOfOthers:
    """The unmodified packages from PyPI read our signatures, and we read theirs."""

    @pytest.mark.parametrize("library", PYPI_LIBRARIES)
    @given(
        body=st.text(st.characters(exclude_categories=("Cs",)), max_size=50).map(json.dumps),
        length=st.integers(24, 64),
    )
    def test_they_accept_what_we_sign(self, library, body, length):
        secret = secret_of(length)
        now = int(time.time())
        library(secret).verify(body.encode(), sent(secret, timestamp=now, body=body.encode()))

    @pytest.mark.parametrize("library", PYPI_LIBRARIES)
    def test_they_accept_any_of_several(self, library):
        headers = sent(ASYMMETRIC, OLD, NEW, timestamp=int(time.time()))
        library(OLD).verify(BODY, headers)
        library(NEW).verify(BODY, headers)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            library(OTHER).verify(BODY, headers)

    @pytest.mark.parametrize("library", PYPI_LIBRARIES)
    def test_we_accept_what_they_sign(self, library):
        signature = library(OLD).sign(ID, datetime.fromtimestamp(NOW, tz=UTC), BODY.decode())
        headers = {"webhook-id": ID, "webhook-timestamp": str(NOW), "webhook-signature": signature}
        assert verify(headers) == json.loads(BODY)
        assert signature == sent(OLD)["webhook-signature"]


class TestVerify:
    @pytest.mark.parametrize("case", vectors.load("signing"))
    def test_the_catalogue(self, case):
        for headers, body, secrets, now in scenes(case["input"]):
            if case["expect"] == "verify_true":
                assert verify(headers, body=body, secrets=secrets, now=now) == json.loads(body)
            else:
                assert refused(headers, body=body, secrets=secrets, now=now)

    @pytest.mark.parametrize(
        ("secret", "entry"), [KNOWN_V1, KNOWN_V1A, (signing.public_key(KNOWN_V1A[0]), KNOWN_V1A[1])]
    )
    def test_the_known_answers(self, secret, entry):
        headers = {
            "webhook-id": KNOWN["webhook_id"],
            "webhook-timestamp": "1614265330",
            "webhook-signature": entry,
        }
        assert verify(headers, body=KNOWN["body"], secrets=secret, now=1614265330) == {"test": 2432232314}

    def test_it_returns_the_parsed_body(self):
        assert verify(sent()) == {"n": 9007199254740993, "ü": "→"}
        assert verify(sent(), body=BODY.decode()) == {"n": 9007199254740993, "ü": "→"}

    def test_the_names_of_headers_have_no_case(self):
        assert verify({name.title(): value for name, value in sent().items()})
        assert verify({name.upper(): value for name, value in sent().items()})

    @pytest.mark.parametrize("secrets", [[OLD], (OTHER, OLD), {OLD, OTHER}, iter([OTHER, OLD])])
    def test_one_of_several_secrets_is_enough(self, secrets):
        assert verify(sent(), secrets=secrets)

    @pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
    @pytest.mark.parametrize("value", [None, "", 5, ["v1,x"]])
    def test_a_missing_header_is_told(self, name, value):
        assert refused(sent() | {name: value}) == "missing_header"
        headers = sent()
        del headers[name]
        assert refused(headers) == "missing_header"

    @pytest.mark.parametrize(
        "timestamp",
        [
            "NaN",
            "1.7e9",
            "1700000000.0",
            " 1700000000",
            "1700000000\n",
            "+1700000000",
            "-1",
            "01700000000",
            "1_700_000_000",
            "0x1",
            "9" * 13,
            "9" * 5000,
            "\u0661\u0667",
            "\uff11\uff17",
        ],
    )
    def test_a_timestamp_is_digits_only(self, timestamp):
        assert refused(sent() | {"webhook-timestamp": timestamp}) == "bad_timestamp"

    @pytest.mark.parametrize(
        ("now", "fresh"),
        [
            (NOW - 301, False),
            (NOW - 300, True),
            (NOW, True),
            (NOW + 300, True),
            (NOW + 300.5, False),
        ],
    )
    def test_five_minutes_both_ways(self, now, fresh):
        if fresh:
            assert verify(sent(), now=now)
        else:
            assert refused(sent(), now=now) == "stale_timestamp"

    def test_the_tolerance_is_the_receivers_to_choose(self):
        assert signing.verify(BODY, sent(), OLD, tolerance_seconds=10, now=NOW + 10)
        for tolerance in (9, float("nan"), -1):
            with pytest.raises(exceptions.VerificationError) as caught:
                signing.verify(BODY, sent(), OLD, tolerance_seconds=tolerance, now=NOW + 10)
            assert caught.value.code == "stale_timestamp"

    def test_without_now_the_clock_is_read(self):
        assert signing.verify(BODY, sent(timestamp=int(time.time())), OLD)
        with pytest.raises(exceptions.VerificationError):
            signing.verify(BODY, sent(), OLD)

    @pytest.mark.parametrize("signer", [OLD, ASYMMETRIC])
    def test_nothing_may_be_changed(self, signer):
        headers = sent(signer)
        assert verify(headers, secrets=signer)
        assert refused(headers, secrets=signer, body=BODY + b" ") == "bad_signature"
        assert refused(headers | {"webhook-id": ID[:-1] + "1"}, secrets=signer) == "bad_signature"
        assert refused(headers | {"webhook-timestamp": str(NOW + 1)}, secrets=signer) == "bad_signature"
        assert refused(headers, secrets=[OTHER, signing.generate_secret("v1a")]) == "bad_signature"

    @pytest.mark.parametrize(
        "signature",
        [
            "v1,",
            "v1a,",
            ",",
            " ",
            "v1",
            "v1a",
            "v1,=",
            "v1,====",
            "v1, ",
            "v1,AAAA",
            "v1,!!!!",
            "v2," + "A" * 43 + "=",
            "é,ü",
            "v1,\ud800",
            "v1," * 500,
        ],
    )
    @pytest.mark.parametrize("secrets", [OLD, ASYMMETRIC, [OLD, ASYMMETRIC]])
    def test_rubbish_never_passes_and_is_never_raised(self, signature, secrets):
        assert refused(sent() | {"webhook-signature": signature}, secrets=secrets) == "bad_signature"

    def test_a_signature_has_one_spelling(self):
        good = sent()["webhook-signature"]
        assert verify({**sent(), "webhook-signature": good})
        last = {"A": "B", "Q": "R", "g": "h", "w": "x"}.get(good[-2]) or chr(ord(good[-2]) + 1)
        for other in (
            good.rstrip("="),
            good + "=",
            good[:-2] + last + "=",
            good + "\n",
            good.lower(),
        ):
            assert refused(sent() | {"webhook-signature": other}) == "bad_signature"

    def test_a_signature_of_one_scheme_is_none_of_the_other(self):
        for secret, version in ((OLD, "v1a"), (ASYMMETRIC, "v1")):
            entry = sent(secret)["webhook-signature"].partition(",")[2]
            assert (
                refused(sent() | {"webhook-signature": f"{version},{entry}"}, secrets=[OLD, ASYMMETRIC])
                == "bad_signature"
            )

    def test_only_twenty_signatures_are_looked_at(self):
        good = sent()["webhook-signature"]
        assert verify(sent() | {"webhook-signature": " ".join(["v1,AAAA"] * 19 + [good])})
        assert refused(sent() | {"webhook-signature": " ".join(["v1,AAAA"] * 20 + [good])}) == "bad_signature"
        began = time.perf_counter()
        assert refused(sent(ASYMMETRIC) | {"webhook-signature": "v1a,A " * 1_000_000}, secrets=ASYMMETRIC)
        assert time.perf_counter() - began < 2

    @pytest.mark.parametrize("webhook_id", ["a.b", "é", "a\0", "x" * 300, "\ud800", "a b"])
    def test_an_id_that_cannot_be_ours_is_refused(self, webhook_id):
        assert refused(sent() | {"webhook-id": webhook_id}) == "bad_signature"

    def test_a_full_stop_cannot_move_between_id_and_body(self):
        # "a" + "." + NOW + "." + "5.1" and "a.NOW" + "." + "5" + "." + "1" are the same signed bytes.
        headers = sent(webhook_id="a", body=b"5.1")
        moved = headers | {"webhook-id": f"a.{NOW}", "webhook-timestamp": "5"}
        assert refused(moved, body=b"1", now=5) == "bad_signature"

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"[" * 100_000])
    def test_a_signed_body_that_is_not_json_is_told(self, body):
        assert refused(sent(body=body), body=body) == "bad_body"

    def test_a_body_that_is_no_unicode_is_told(self):
        assert refused(sent(), body='{"a":"\ud800"}') == "bad_body"

    def test_an_unsigned_body_is_not_parsed(self):
        assert refused(sent(), body=b"\xff") == "bad_signature"

    @pytest.mark.parametrize("secrets", ["", "password", [], [OLD, "password"], [None], "whsec_"])
    def test_a_receiver_without_proper_secrets_is_misconfigured(self, secrets):
        with pytest.raises(exceptions.InvalidSecret):
            verify(sent(), secrets=secrets)

    @given(
        st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()),
        st.binary(),
    )
    def test_nothing_but_a_verification_error_comes_out(self, headers, body):
        assert refused(headers, body=body, secrets=[OLD, ASYMMETRIC])
        assert refused(sent() | headers, body=body + b"!", secrets=[OLD, ASYMMETRIC])


class TestTheModule:
    def test_it_caches_no_secrets(self):
        assert "cache" not in inspect.getsource(signing).replace("cached", "")


def scenes(given_input):
    """Yield (headers, body, secrets, now) for one case of the catalogue."""
    good = sent()["webhook-signature"]
    (kind, value), *_ = given_input.items()
    if kind == "tamper":
        yield sent() | {f"webhook-{value}": ID[:-1] + "1"}, BODY, OLD, NOW
    elif kind == "header":
        header = value.replace("v1,GOOD", good).replace("GOOD", good[3:])
        yield sent() | {"webhook-signature": header}, BODY, OLD, NOW
    elif kind == "clock":
        yield sent(), BODY, OLD, NOW + int(value.removesuffix(" s"))
    elif kind == "timestamp":
        yield sent() | {"webhook-timestamp": value}, BODY, OLD, NOW
    elif kind == "rotation" and "in flight" in value:
        for attempt in range(100):
            live = [[OLD], [OLD, NEW], [NEW]][attempt // 34]
            yield sent(*live), BODY, [OLD, NEW], NOW
    elif kind == "rotation":
        yield sent(OLD, NEW), BODY, OLD, NOW
        yield sent(OLD, NEW), BODY, NEW, NOW
    elif kind == "body":
        yield sent(), BODY, OLD, NOW
    elif kind == "retry":
        for attempt in range(8):
            yield sent(timestamp=NOW + attempt * 3600), BODY, OLD, NOW + attempt * 3600
    else:
        raise NotImplementedError(kind)
