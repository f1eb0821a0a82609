"""Make examples of messages from schemas, one value for each field name."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields
from marshmallow.validate import OneOf

RESET_ID = "3kqm7zr5wjx2n4tbvhcd6gyp8s"
# By a field's name on the wire, or by message and name. A field without a value is null if it may
# be, else the first of its choices, else a default. A field that may be absent is absent unless
# it is named with its message.
VALUES: dict[str, Any] = {
    "resetId": RESET_ID, "userId": "ada", "orgId": "acme", "resourceOwner": "acme",
    "sequence": "7", "requestId": "9f2c1d7e5a3b8064", "recipient": "a***@example.com",
    "language": "de", "nextPageToken": "2955345-3-18", "Reset.status": "delivered",
    "RecordedWithCode.verificationCode": "7KQMZR5WT3HXB2VNCD8E", "DeliveryEvent.type": "delivered",
    "number": 1, "order": 1, "provider": "sendgrid", "providerMessageId": "Vn0pYyZ9",
    "outcome": "accepted",
    "finishedAt": "2026-11-23T12:00:00.323456Z", "expiresAt": "2026-11-23T13:00:00.123456Z",
    "verdict": "The code was used and the password changed at 2026-11-23 12:01:07 UTC.",
    "next": "Nothing; if it was not the user, lock the user and look at the callers.",
    "kind": "over", "step": "call", "words": "asked for by email; organisation acme",
    "checks": {"redis": "ok", "broker": "ok", "worker": "ok"},
    "receiptId": "forget_9f2c1d7e5a3b8064", "ErasureReceipt.subject": "user",
    "ErasureReceipt.erased": {"users": 1, "resets": 2}, "ErasureReceipt.kept": [],
    "serverFiles": "done", "signature": "0f3a…", "address": "ada@example.com",
    "UserExport.user": {"userId": "ada"}, "resets": [], "refusals": [], "limits": {},
    "webhooks": [], "tokens": [], "suppressions": [], "auditEntries": [],
    "scope": "organisation", "name": "acme", "by": "token 3kqm7zr5", "id": "ada",
    "reason": "the provider is out of service", "action": "organisation.pause", "target": "acme",
    "ratePerSecond": 50.0, "moved": 1200, "ResumeRequest.ratePerSecond": 50,
    "ClearLimit.id": "ada", "BatchReason.reason": "the provider asked us to",
    "Reset.reason": None, "ProviderStatus.reason": None,
    "depth": 3, "oldestDueSeconds": 0.2, "inPerMinute": 61.0, "outPerMinute": 60.0,
    "calls": 305, "errorRate": 0.003, "p95Ms": 250, "callbacks": 301,
    "lastCallbackAt": "2026-11-23T12:00:00.123456Z", "lastSwitch": None, "troubles": [],
    "Status.due": {"urgent": 3, "bulk": 0}, "dueNow": {"urgent": 1, "bulk": 0},
    "open": {"queued": 3}, "reached": {"accepted": 2048}, "Status.hints": {"urgent": 0},
    "Status.workers": {"urgent": 2}, "QueueStatus.workers": 2, "completed": 1020,
    "Status.pauses": [], "Status.releases": [], "batches": [], "guesses": [],
    "QueueStatus.hints": 0,
    "prefix": "+8801", "PrefixRequest.action": "block", "PrefixChanged.action": "block",
    "PrefixState.by": "rule", "PrefixState.rule": "velocity", "PrefixState.level": "stop",
    "PrefixState.reason": "12 numbers in an hour without a used code, more than the 12 expected",
    "PrefixRequest.forSeconds": 86400, "Status.sms": [],
    "batchId": "9f2c1d7e5a3b8064", "Reset.batchId": None, "total": 900, "waiting": 463,
    "queued": 25, "accepted": 380, "delivered": 26, "failed": 2,
    "failures": {"failed: http_400": 2}, "skipped": 4,
    "skips": {"inactive": 3, "newer_reset": 1}, "plan": None, "Batch.state": "running",
    "sentence": "running, 412 of 900 done with 2 failures: 2 failed: http_400",
    "Batch.startedAt": "2026-11-23T12:00:01.123456Z", "Batch.finishedAt": None,
    "Batch.reason": "the outage of Monday",
    "subscriptionId": "hook_9f2c1d7e5a3b", "url": "https://hooks.acme.example/keyturn",
    "Subscription.events": ["reset.failed"], "SubscriptionRequest.events": ["reset.failed"],
    "Subscription.waiting": 0, "dead": 1, "state": "active", "secret": "whsec_…",
    "Preview.name": "usual", "PreviewQuery.name": "usual", "Preview.channel": "sms",
    "Preview.from": None, "Preview.subject": None, "Preview.html": None, "Preview.replyTo": None,
    "Preview.text": "Acme: Password code ABCD-2345, valid until 15:05 UTC: https://id.example/r/…",
    "segments": 1, "encoding": "GSM-7", "price": {"CH": 0.07}, "currency": "EUR",
    "textVersion": 3, "unfilled": [], "to": "me@acme.example",
    "Trial.outcome": "accepted", "Trial.reason": None, "Trial.detail": None,
    "Trial.providerMessageId": "14c5d75ce93", "durationMs": 180, "isAccepted": True,
    "displayName": "Acme", "accent": "#1f54cc", "onAccent": "#ffffff", "link": "#1f54cc",
    "Branding.languages": ["de", "en"], "Branding.linkHosts": ["app.acme.example"],
    "helpUrl": "https://help.acme.example/", "postalLine": "Acme AG, 8000 Zürich",
    "replyTo": "help@acme.example", "mediaType": "image/png", "width": 400, "height": 80,
    "bytes": 4096, "sentences": {"reset.heading": "Neues Passwort"},
    "builtIn": {"reset.heading": "Neues Passwort wählen"}, "Organisation.texts": {"de": 3},
    "Organisation.version": "4.3", "version": 3, "RollbackRequest.version": 1,
    "Subscription.sentence": "took the last webhook at 2026-11-23 12:00:00 UTC; 0 wait, 1 given up",
    "WebhookAnswer.outcome": "retried", "WebhookAnswer.type": "reset.failed",
    "WebhookAnswer.tries": 2, "BatchPage.nextPageToken": "9f2c1d7e5a3b8064",
    "webhookId": f"msg_{RESET_ID}_failed", "DeadWebhook.type": "reset.failed",
    "tries": 8, "answer": "http_500", "replayed": 1, "WebhookData.status": "failed",
    "WebhookData.reason": "refused", "timestamp": "2026-11-23T12:00:00.123Z",
    "WebhookData.at": "2026-11-23T12:00:00.123Z",
    "SendGridEvent.event": "bounce", "SendGridEvent.type": "bounce",
    "SendGridEvent.sg_event_id": "ZGVsaXZlcmVk", "SendGridEvent.timestamp": 1795435200,
    "SendGridEvent.keyturn_reset_id": RESET_ID, "AccountSid": "AC0123456789abcdef",
    "TwilioStatus.MessageSid": "SM0123456789abcdef", "TwilioStatus.MessageStatus": "undelivered",
    "TwilioStatus.ErrorCode": "30005", "GatewayReport.event": "delivered",
    "ForgotNeeds.captcha": "turnstile", "siteKey": "0x4AAAAAAA", "challenge": "",
}  # fmt: skip
DEFAULTS: dict[type[fields.Field[Any]], Any] = {
    fields.DateTime: "2026-11-23T12:00:00.123456Z",
    fields.Dict: {},
    fields.Boolean: False,
    fields.Number: 0,
    fields.Function: False,
}


def make_example(schema: Schema) -> dict[str, Any]:
    """Return a message with an example for each of its fields."""
    message = type(schema).__name__.removesuffix("Schema")
    example = {}
    for field in schema.fields.values():
        name = str(field.data_key or field.name)
        if f"{message}.{name}" in VALUES:
            example[name] = VALUES[f"{message}.{name}"]
        elif field.required:
            example[name] = VALUES[name] if name in VALUES else _default(field)
    return example


def _default(field: fields.Field[Any]) -> Any:
    default: Any = None
    if isinstance(field, fields.Nested):
        default = make_example(field.schema)
    elif isinstance(field, fields.List):
        default = [_default(field.inner)]
    elif field.allow_none:
        default = None
    elif isinstance(field, fields.Enum):
        default = next(each.value for each in field.enum)
    elif choices := [each.choices for each in field.validators if isinstance(each, OneOf)]:
        default = next(iter(choices[0]))
    else:
        default = next((value for kind, value in DEFAULTS.items() if isinstance(field, kind)), None)
    return default
