"""What is wrong with what somebody typed, and what would be right, in the reader's language.

The rules say it in English, with a stable code; here each code has its sentence. A code without one shows the rule's.
"""

from collections.abc import Mapping

from django.core.exceptions import ValidationError
from django.forms import BaseForm
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions

_SENTENCES: Mapping[str, Promise] = {
    # URLs
    "too_long": _("The URL is too long: at most 2,048 characters."),
    "malformed_url": _("This is not a URL that can be called. Write it like https://example.com/webhooks."),
    "scheme": _("Only https:// URLs can be endpoints, so that nobody on the way reads your events."),
    "userinfo": _("Remove user name and password from the URL. Send them as a header instead."),
    "non_ascii_host": _("Write an international host name in its “xn--” form."),
    "bad_port": _("A port is a number from 1 to 65535."),
    "port_not_allowed": _("This port is not for webhooks: use 443, or one from 1024."),
    "malformed_host": _("This host name cannot exist: letters, digits and hyphens stand between its dots."),
    "private_name": _("This name works only inside a private network. Events are sent from ours: give a public one."),
    "noncanonical_ip": _("Write the IP address in its usual form, such as 203.0.113.7."),
    "address_not_public": _(
        "This address is private or reserved. Events are sent over the internet: give a public one."
    ),
    # Headers
    "bad_header_name": _("This cannot be the name of a header: letters, digits and hyphens."),
    "bad_header_value": _("The value of a header must be visible ASCII, without blanks at its ends."),
    "forbidden_header": _("This header is set by the sender and cannot be yours."),
    # Subscriptions and filters
    "bad_pattern": _("A pattern is an event type such as invoice.paid, or uses * and ** for whole words between dots."),
    "bad_filter": _("Filters are an object of names with a value or a list of values, such as {“region”: [“eu”]}."),
    "bad_description": _("The description holds characters that cannot be stored."),
    "bad_retry_schedule": _("Each wait is longer than nothing and at most 30 days."),
    # Secrets
    "bad_secret": _("A signing secret begins with whsec_ and holds 24 to 64 bytes in base64."),
    # Sending again
    "since_required": _("Say from when on."),
    "bad_window": _("The beginning must be in the past, and before the end."),
    "too_many_replays": _("As many replays are in progress as may be. Wait for one, or cancel it."),
    "too_many_endpoints": _("You have as many endpoints as you may have. Delete one that you no longer need."),
    "already_replaying": _("It is being sent again already."),
    "already_pending": _("It is on its way already."),
    "discarded": _("It was discarded, and cannot be sent again."),
    "endpoint_deleted": _("The endpoint was deleted."),
    "endpoint_disabled": _("The endpoint is disabled: enable it first."),
    "event_gone": _("The event is too old and no longer stored."),
    "entry_gone": _("It is no longer stored."),
    "delivery_gone": _("It is no longer stored."),
    "not_fanned_out": _("The event is on its way by itself."),
    "no_endpoint": _("No endpoint wants this event. Choose one to send it to."),
    "test_event": _("A test event is not sent again: send a new one."),
    "in_flight": _("It is being sent at this moment. Look again in a few seconds."),
    "not_pending": _("It is settled already."),
    "not_in_progress": _("It has ended already."),
    "unknown_endpoint": _("There is no such endpoint any more."),
    "no_example": _("This type has no example: write the data yourself."),
    "schema_mismatch": _("The data does not fit the type's schema."),
    "not_serialisable": _("The data must be JSON."),
    "too_large": _("The data is too large."),
    "too_deep": _("The data is nested too deep."),
    "unknown_event_type": _("There is no such event type."),
    "deprecated_event_type": _("This event type is deprecated and is no longer sent."),
    "sending_disabled": _("Sending is switched off at the moment."),
}


_SHOWN_BY = {"headers": "header_name"}


def sentence(error: exceptions.RelayError) -> str:
    """Return what is wrong, for a person."""
    return str(_SENTENCES.get(error.code, str(error)))


def add(form: BaseForm, error: ValidationError, *, otherwise: str) -> None:
    """Show a model's errors by the form's fields; ``otherwise`` is the field for what the form does not have."""
    by_field: Mapping[str, list[ValidationError]]
    by_field = error.error_dict if hasattr(error, "error_dict") else {otherwise: error.error_list}
    for name, found in by_field.items():
        for single in found:
            text = _SENTENCES.get(single.code or "")
            message = str(text) if text is not None else " ".join(single.messages)
            form.add_error(
                name if name in form.fields else _SHOWN_BY.get(name, otherwise),
                ValidationError(message, code=single.code),
            )
