"""What could not be stored as an event: kept, so that it can be emitted again."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from django.db import router, transaction
from django.utils.dateparse import parse_datetime
from django.utils.functional import Promise

from django_relay import conf, exceptions
from django_relay.models import PublishFailure
from django_relay.rules import payloads, texts

logger = logging.getLogger(__name__)


def encode(data: object) -> str:
    """Return data as the JSON that events are stored as.

    Raises:
        InvalidPayload: it is no JSON, too large or too deep.
    """
    return payloads.encode(
        data,
        max_bytes=conf.settings.MAX_PAYLOAD_BYTES,
        max_depth=conf.settings.MAX_PAYLOAD_DEPTH,
        convert=_lazy_text,
    )


def keep(arguments: Mapping[str, Any], error: Exception, caller: str) -> None:
    """Keep the arguments of an ``emit`` that failed, as JSON or else as ``repr``; if that fails too, log it.

    Never raises, and leaves the caller's transaction as it was.
    """
    try:
        try:
            kept = json.loads(encode(arguments))
        except exceptions.InvalidPayload:
            described = ", ".join(f"{name}={_described(value)}" for name, value in arguments.items())
            kept = {"repr": described[: conf.settings.MAX_PAYLOAD_BYTES]}
        using = arguments.get("using") or router.db_for_write(PublishFailure)
        with transaction.atomic(using):
            PublishFailure.objects.using(using).create(
                event_type=_kept_text(arguments["event_type"])[:255],
                tenant_id=_kept_text(arguments.get("tenant_id", ""))[:255],
                arguments=kept,
                error=_kept_text(f"{type(error).__name__}: {error}"),
                caller=caller[:500],
            )
    except Exception:
        logger.exception(
            "An event could not be stored, nor could its failure.",
            extra={"event": "event.lost", "caller": caller},
        )


def arguments_of(failure: PublishFailure) -> dict[str, Any]:
    """Return the arguments of ``emit`` that a failure keeps; what it tells of happened when it was first tried.

    Raises:
        InvalidEvent: ``incomplete``, they are not all there.
    """
    kept = failure.arguments
    if not isinstance(kept, dict) or not {"event_type", "data"} <= set(kept):
        raise exceptions.InvalidEvent(
            "What was kept of this event is not enough to emit it: its data could not be made, or was no JSON.",
            code="incomplete",
        )
    arguments = {name: value for name, value in kept.items() if name != "using"}
    said = arguments.get("occurred_at")
    moment = parse_datetime(said) if isinstance(said, str) else None
    return {**arguments, "occurred_at": moment or failure.created_at}


def _lazy_text(value: object) -> str:
    if isinstance(value, Promise):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form; convert it first")


def _described(value: object) -> str:
    try:
        return ascii(value)
    except Exception:  # noqa: BLE001 - a repr may raise anything, and the other arguments are still worth keeping
        return f"<{type(value).__name__} without a repr>"


def _kept_text(value: object) -> str:
    return texts.cleaned(value if isinstance(value, str) else _described(value))
