"""What every call about subscriptions is for, takes and may answer, for /openapi.json."""

from __future__ import annotations

from shared import errors
from shared.store.webhooks.subscriptions import EVENTS
from shared.webhooks import MAX_URL_CHARACTERS
from web.openapi.resets import (
    AUTHENTICATION,
    BODY,
    MOMENT_QUERY,
    RESET_EXAMPLE,
    TEXT,
    TEXT_OR_NULL,
    Operation,
    Shape,
    an_object,
    reference,
)
from web.openapi.resets import MOMENT as A_MOMENT

TAG = "Webhooks"
URL = "https://hooks.acme.example/keyturn"
SUBSCRIPTION_ID = "hook_9f2c1d7e5a3b"
THIS = "/keyturn/v1/webhooks/{subscriptionId}"
SUBSCRIPTION = {
    "subscriptionId": SUBSCRIPTION_ID, "orgId": "acme", "url": URL,
    "events": ["reset.failed"], "state": "active", "createdAt": MOMENT_QUERY,
    "waiting": 0, "dead": 1, "oldestDueSeconds": 0.0,
}  # fmt: skip
DEAD = {
    "webhookId": f"msg_{RESET_EXAMPLE['resetId']}_failed", "type": "reset.failed",
    "resetId": RESET_EXAMPLE["resetId"], "at": MOMENT_QUERY, "tries": 8, "answer": "http_500",
}  # fmt: skip
RIGHTS = (*AUTHENTICATION, errors.PermissionDeniedError)

COUNT: Shape = {"type": "integer", "minimum": 0}
EVENT: Shape = {"enum": list(EVENTS)}
WEBHOOK_SHAPES: dict[str, Shape] = {
    "WantedSubscription": an_object(
        required=("url",),
        url=TEXT
        | {
            "minLength": 1,
            "maxLength": MAX_URL_CHARACTERS,
            "description": "https, and at a public address",
        },
        events={
            "type": ["array", "null"],
            "items": EVENT,
            "description": "Nothing and none mean all",
        },
    ),
    "AddedSubscription": an_object(
        required=("subscriptionId", "secret"),
        subscriptionId=TEXT,
        secret=TEXT | {"description": "Signs (Standard Webhooks); not shown again"},
    ),
    "Subscription": an_object(
        required=tuple(SUBSCRIPTION),
        subscriptionId=TEXT,
        orgId=TEXT,
        url=TEXT,
        events={"type": "array", "items": EVENT},
        state=TEXT | {"description": "active, or why nothing is told"},
        createdAt=A_MOMENT,
        waiting=COUNT | {"description": "What it has not been told yet"},
        dead=COUNT | {"description": "What it was told in vain"},
        oldestDueSeconds={"type": "number", "minimum": 0},
    ),
    "Subscriptions": an_object(
        required=("subscriptions",),
        subscriptions={"type": "array", "items": reference("Subscription")},
    ),
    "RemovedSubscription": an_object(
        required=("subscriptionId", "dropped"), subscriptionId=TEXT, dropped=COUNT
    ),
    "DeadWebhooks": an_object(
        required=("webhooks",),
        webhooks={
            "type": "array",
            "items": an_object(
                required=tuple(DEAD),
                webhookId=TEXT,
                type=EVENT,
                resetId=TEXT,
                at=A_MOMENT,
                tries=COUNT,
                answer=TEXT_OR_NULL,
            ),
        },
    ),
    "Replayed": an_object(
        required=("subscriptionId", "replayed"), subscriptionId=TEXT, replayed=COUNT
    ),
    "Enabled": an_object(required=("subscriptionId", "state"), subscriptionId=TEXT, state=TEXT),
}

WEBHOOK_OPERATIONS = (
    Operation(
        method="get",
        paths=("/keyturn/v1/webhooks",),
        name="listWebhooks",
        summary="Who is told of the organisation's resets, and how far each has been told",
        tag=TAG,
        answer="Subscriptions",
        example={"subscriptions": [SUBSCRIPTION]},
        errors=RIGHTS,
    ),
    Operation(
        method="post",
        paths=("/keyturn/v1/webhooks",),
        name="addWebhook",
        summary="Tell a URL from now on; the answer holds the secret that signs, this once",
        tag=TAG,
        body="WantedSubscription",
        body_examples={"what fails": {"url": URL, "events": ["reset.failed"]}},
        answer="AddedSubscription",
        example={"subscriptionId": SUBSCRIPTION_ID, "secret": "whsec_…"},
        errors=(
            *RIGHTS,
            *BODY[:2],
            errors.SubscriberUrlError,
            errors.TooManySubscriptionsError,
        ),
    ),
    Operation(
        method="get",
        paths=(THIS,),
        name="showWebhook",
        summary="One subscription",
        tag=TAG,
        answer="Subscription",
        example=SUBSCRIPTION,
        errors=RIGHTS,
    ),
    Operation(
        method="delete",
        paths=(THIS,),
        name="removeWebhook",
        summary="Tell it nothing more, and drop what it has not heard",
        tag=TAG,
        answer="RemovedSubscription",
        example={"subscriptionId": SUBSCRIPTION_ID, "dropped": 0},
        errors=RIGHTS,
    ),
    Operation(
        method="get",
        paths=(f"{THIS}/dead",),
        name="listDeadWebhooks",
        summary="What it was told in vain, the newest first; at most 100",
        tag=TAG,
        answer="DeadWebhooks",
        example={"webhooks": [DEAD]},
        errors=RIGHTS,
    ),
    Operation(
        method="post",
        paths=(f"{THIS}/_replay",),
        name="replayWebhooks",
        summary="Tell it again what it was told in vain",
        tag=TAG,
        answer="Replayed",
        example={"subscriptionId": SUBSCRIPTION_ID, "replayed": 1},
        errors=RIGHTS,
    ),
    Operation(
        method="post",
        paths=(f"{THIS}/_enable",),
        name="enableWebhook",
        summary="Tell one again that had answered 410",
        tag=TAG,
        answer="Enabled",
        example={"subscriptionId": SUBSCRIPTION_ID, "state": "active"},
        errors=RIGHTS,
    ),
)
