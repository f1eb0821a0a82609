"""List the operations of the REST API: purpose, request, responses, errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from http import HTTPStatus
from typing import Any

from marshmallow import Schema

from shared import errors
from web import schemas
from web.admin import prefixes
from web.admin import schemas as admin_schemas
from web.admin.actions import LIMITS
from web.admin.schemas import StatusSchema
from web.batches import schemas as batches_schemas
from web.forgot import api as forgot_api
from web.leaving import api as leaving
from web.openapi.events import (
    GatewayReportSchema,
    SendGridEventSchema,
    TwilioQuerySchema,
    TwilioStatusSchema,
)
from web.organisations import schemas as organisation_schemas
from web.organisations.message_api import (
    PreviewQuerySchema,
    PreviewSchema,
    SendTestRequestSchema,
    SendTestSchema,
)
from web.organisations.sender_api import SenderRequestSchema, SenderSchema
from web.webhooks import api

Errors = tuple[type[errors.CallerError], ...]
Json = dict[str, Any]

AUTHENTICATION: Errors = (
    errors.AuthHeaderMissingError,
    errors.AuthHeaderInvalidError,
    errors.TokenInvalidError,
    errors.OrganisationUnknownError,
    errors.MembershipMissingError,
    errors.StoreUnavailableError,
    errors.IssuerUnavailableError,
    errors.NotFoundError,
)
BODY: Errors = (errors.InvalidRequestError, errors.BodyTooLargeError)
RECORDING: Errors = (
    errors.TooManyRequestsError,
    errors.UserInactiveError,
    errors.RecipientMissingError,
    errors.CountryNotAllowedError,
    errors.LineTypeError,
    errors.SmsSuspiciousError,
    errors.RecipientSuppressedError,
    errors.ProviderMissingError,
    errors.IdempotencyMismatchError,
    errors.DirectoryUnavailableError,
)
USER_STATES: Errors = (
    errors.UserUnknownError,
    errors.UserNotInitialisedError,
    errors.MachineUserError,
)
VERSIONS: Errors = (
    errors.VersionConflictError,
    errors.VersionMissingError,
    errors.ProfileError,
)
CALLBACK: Errors = (
    errors.InvalidRequestError,
    errors.CallbackRefusedError,
    errors.CallbackTooLargeError,
    errors.StoreUnavailableError,
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One call, such as `GET /livez`.

    The errors of authentication, of bodies and of recording are added where they apply.
    """

    call: str
    name: str
    summary: str
    response: type[Schema] | str | None  # a schema, or the content type of what is no JSON
    _: KW_ONLY
    alias: str | None = None  # another path
    request: type[Schema] | None = None
    request_type: str = "application/json"
    files: tuple[str, ...] = ()  # the request is a file of one of these types
    is_list: bool = False  # the request is an array
    is_uploadable: bool = False  # the request may also be a file
    examples: Mapping[str, Json] | None = None  # of the request; None: made from its fields
    query: type[Schema] | None = None
    status: HTTPStatus = HTTPStatus.OK
    unavailable: type[Schema] | None = None  # of a 503 that is no error
    errors: Errors = (errors.PermissionDeniedError,)
    security: tuple[str, ...] = ("token",)
    makes_reset: bool = False  # and takes an Idempotency-Key
    takes_key: bool = False
    is_deprecated: bool = False
    is_versioned: bool = False  # has an ETag; a change takes If-Match

    @property
    def all_errors(self) -> Errors:
        """Every error that the operation may answer."""
        needs_token = "token" in self.security
        return (
            *(AUTHENTICATION if needs_token else ()),
            *((errors.TooManyRequestsError,) if needs_token and self.call[:4] != "GET " else ()),
            *(BODY if needs_token and (self.request or self.files) else ()),
            *(RECORDING if self.makes_reset else ()),
            *(VERSIONS if self.is_versioned and self.call[:4] != "GET " else ()),
            *self.errors,
        )


PASSWORD = {"password": "Correct-horse-1"}
BATCH = "/keyturn/v1/batches/{batchId}"
RESET = "/keyturn/v1/resets/{resetId}"
SUBSCRIPTION = "/keyturn/v1/webhooks/{subscriptionId}"


ORGANISATION = "/keyturn/v1/organisations/{orgId}"
COLOURS = {"accent": "#1f54cc", "onAccent": "#ffffff", "link": "#1f54cc"}


def _of_organisation(call: str, name: str, summary: str, **more: Any) -> Operation:
    """Return an operation at an organisation's branding or texts."""
    method, _, path = call.partition(" ")
    response = more.pop("response")
    return Operation(
        f"{method} {ORGANISATION}{path}", name, summary, response, is_versioned=True, **more
    )


def _batch_change(verb: str, summary: str) -> Operation:
    return Operation(
        f"POST {BATCH}/_{verb}",
        f"{verb}Batch",
        summary,
        batches_schemas.BatchSchema,
        request=batches_schemas.BatchReasonSchema,
        errors=(errors.PermissionDeniedError, errors.TooManyRequestsError, errors.BatchStateError),
    )


# fmt: off
OPERATIONS: dict[str, tuple[Operation, ...]] = {  # by tag
    "ZITADEL v1": (
        Operation("POST /management/v1/users/{userId}/password/_reset",
            "sendResetPasswordNotification",
            "Send Reset Password Notification (v1): a message with a code and a link",
            schemas.RecordedSchema, request=schemas.SendNotificationSchema,
            examples={"e-mail": {"type": "TYPE_EMAIL"}, "SMS": {"type": "TYPE_SMS"}},
            makes_reset=True, alias="/users/{userId}/password/_reset", is_deprecated=True,
            errors=(errors.PermissionDeniedError, *USER_STATES)),
    ),
    "ZITADEL v2": (
        Operation("POST /v2/users/{userId}/password_reset", "passwordReset",
            "PasswordReset (v2): a message with a link, or the code in the answer",
            schemas.RecordedWithCodeSchema, request=schemas.PasswordResetSchema,
            examples={
                "e-mail": {"sendLink": {"notificationType": "NOTIFICATION_TYPE_Email"}},
                "SMS": {"sendLink": {"notificationType": "NOTIFICATION_TYPE_SMS"}},
                "the code in the answer": {"returnCode": {}}},
            makes_reset=True,
            errors=(
                errors.UrlTemplateError, errors.UrlTemplateFieldError, errors.UserHiddenError,
                errors.UserPermissionError, errors.UrlNotAllowedError,
                errors.ResetUserNotInitialisedError,
                errors.CodeExpiredError)),  # a repeated returnCode whose key was removed
        Operation("POST /v2/users/{userId}/password", "setPassword",
            "SetPassword (v2): by code, by the current password, or by permission",
            schemas.PasswordSetSchema, request=schemas.SetPasswordSchema,
            examples={
                "by code": {"newPassword": PASSWORD, "verificationCode": "7KQM-ZR5W"},
                "by permission": {"newPassword": PASSWORD | {"changeRequired": True}}},
            errors=(
                errors.TooManyRequestsError, errors.PasswordMissingError,
                errors.PasswordTooLongError, errors.UserHiddenError, errors.UserPermissionError,
                errors.PasswordUserUnknownError, errors.PasswordUserNotInitialisedError,
                errors.UserInactiveError, errors.CodeMismatchError, errors.CodeUnusableError,
                errors.CodeExpiredError, errors.PasswordMismatchError, errors.PasswordPolicyError,
                errors.DirectoryUnavailableError)),
    ),
    "Keyturn": (
        Operation(f"GET {RESET}", "showReset",
            "A reset's status and timeline",
            schemas.ResetSchema, errors=(errors.DirectoryUnavailableError,)),
        Operation("POST /keyturn/v1/forgot", "askForForgotten",
            "A person forgot the password: a message for all with this identifier; the answer is "
            "the same for every one",
            forgot_api.ForgotTakenSchema, request=forgot_api.ForgotSchema,
            status=HTTPStatus.ACCEPTED, security=(),
            examples={
                "e-mail": {"identifier": "ada@example.com"},
                "a number": {"identifier": "+41 79 123 45 67", "organisationId": "acme"}},
            errors=(
                *BODY, errors.IdentifierError, errors.CaptchaError,
                errors.TooManyRequestsError, errors.CaptchaUnavailableError,
                errors.StoreUnavailableError)),
        Operation("GET /keyturn/v1/forgot", "showForgot",
            "Which captcha `askForForgotten` needs, and a challenge",
            forgot_api.ForgotNeedsSchema, security=(), errors=(errors.StoreUnavailableError,)),
    ),
    "Operating": (
        Operation(f"GET {RESET}/explanation", "explainReset",
            "Why a reset stands as it does, and what to do next",
            schemas.ExplanationSchema, errors=(errors.DirectoryUnavailableError,)),
        Operation("GET /keyturn/v1/resets", "listResets",
            "Resets in the organisations the caller may read, newest first, page by page",
            schemas.ResetPageSchema, query=schemas.ResetQuerySchema,
            errors=(
                errors.InvalidRequestError, errors.UserUnknownError,
                errors.DirectoryUnavailableError)),
        Operation(f"POST {RESET}/_hold", "holdReset",
            "Keep one reset from going out until it is released, or its code ends",
            admin_schemas.ResetHeldSchema, request=admin_schemas.ReasonSchema,
            errors=(errors.PermissionDeniedError, errors.ResetStateError)),
        Operation(f"POST {RESET}/_release", "releaseReset",
            "Let a reset that was held go out",
            admin_schemas.ResetHeldSchema, request=admin_schemas.ReasonSchema,
            errors=(errors.PermissionDeniedError, errors.ResetStateError)),
        Operation(f"POST {RESET}/_void", "voidReset",
            "End a reset's code before its time; a message still waiting is not sent",
            admin_schemas.ResetVoidedSchema, request=admin_schemas.ReasonSchema,
            errors=(errors.PermissionDeniedError, errors.ResetStateError)),
        Operation(f"POST {RESET}/_resend", "resendReset",
            "A fresh reset for the user of another one; no cool-down applies",
            admin_schemas.ResentSchema, request=admin_schemas.ResendSchema,
            examples={
                "the same channel": {},
                "the other": {"type": "TYPE_SMS", "reason": "no mail came"}},
            makes_reset=True,
            errors=(errors.PermissionDeniedError, errors.ResetStateError, *USER_STATES)),
        Operation("GET /keyturn/v1/pauses", "listPauses",
            "The pauses in force, and what is being let go after one",
            admin_schemas.PausesSchema, errors=()),
        Operation("POST /keyturn/v1/pauses", "pause",
            "Send nothing of a queue, channel, provider or organisation",
            admin_schemas.PauseChangedSchema, request=admin_schemas.PauseRequestSchema),
        Operation("POST /keyturn/v1/pauses/_resume", "resume",
            "Send again; what waited goes at once, or at a pace",
            admin_schemas.PauseChangedSchema, request=admin_schemas.ResumeRequestSchema),
        Operation("POST /keyturn/v1/limits/_clear", "clearLimit",
            "Forget what was counted toward one limit: " + ", ".join(LIMITS),
            admin_schemas.LimitClearedSchema, request=admin_schemas.ClearLimitSchema,
            errors=(errors.PermissionDeniedError, errors.DirectoryUnavailableError)),
        Operation("GET /keyturn/v1/sms/prefixes", "listPrefixes",
            "Prefixes of phone numbers under a rule of SMS or an operator's word",
            prefixes.PrefixesSchema),
        Operation("POST /keyturn/v1/sms/prefixes", "changePrefix",
            "Allow or block SMS to a prefix, or lift what holds for it",
            prefixes.PrefixChangedSchema, request=prefixes.PrefixRequestSchema),
        Operation("GET /keyturn/v1/status", "showStatus",
            "Queues, providers, pauses and batches, and what is wrong first",
            StatusSchema),
        Operation("GET /keyturn/v1/audit", "showAudit",
            "Who did what by hand, and why; the newest first",
            admin_schemas.AuditSchema, query=admin_schemas.AuditQuerySchema,
            errors=(errors.PermissionDeniedError, errors.InvalidRequestError)),
    ),
    "Leaving": (
        Operation("POST /keyturn/v1/users/{userId}/_forget", "forgetUser",
            "Erase a user and everything that is kept of it; the answer is a signed receipt",
            leaving.ErasureReceiptSchema, request=leaving.ForgetSchema,
            errors=(
                errors.PermissionDeniedError, errors.ErasingError,
                errors.DirectoryUnavailableError)),
        Operation("POST /keyturn/v1/_forget", "forgetAddress",
            "Erase an e-mail address or a phone number, in every organisation",
            leaving.ErasureReceiptSchema, request=leaving.ForgetAddressSchema,
            errors=(
                errors.PermissionDeniedError, errors.ErasingError,
                errors.DirectoryUnavailableError)),
        Operation("POST /keyturn/v1/organisations/{orgId}/_remove", "removeOrganisation",
            "Remove an organisation; with its users (at most 1,000) if asked",
            leaving.ErasureReceiptSchema, request=leaving.RemoveOrganisationSchema,
            examples={"with its users": {"withUsers": True, "reason": "the contract ended"}},
            errors=(
                errors.PermissionDeniedError, errors.ErasingError, errors.OrganisationInUseError,
                errors.DirectoryUnavailableError)),
        Operation("GET /keyturn/v1/users/{userId}/export", "exportUser",
            "All that is known of a user, addresses in full",
            leaving.UserExportSchema,
            errors=(errors.InvalidRequestError, errors.DirectoryUnavailableError)),
    ),
    "Batches": (
        Operation("POST /keyturn/v1/batches", "makeBatch",
            "Plan or start a batch: a list, a filter over past resets, a plan, or a file of "
            'up to 1,000,000 lines, a user id or {"userId":…} each',
            batches_schemas.BatchBegunSchema, request=batches_schemas.BatchRequestSchema,
            examples={
                "a list": {"userIds": ["ada"], "type": "TYPE_EMAIL", "reason": "the outage"},
                "a plan": {"userIds": ["ada"], "dryRun": True}},
            is_uploadable=True, query=batches_schemas.UploadQuerySchema, status=HTTPStatus.ACCEPTED,
            takes_key=True,
            errors=(
                errors.PermissionDeniedError, errors.TooManyRequestsError, errors.SelectionError,
                errors.BatchStateError, errors.IdempotencyMismatchError,
                errors.ProviderMissingError)),
        Operation("GET /keyturn/v1/batches", "listBatches",
            "The batches that the caller may see, newest first, page by page",
            batches_schemas.BatchPageSchema, query=batches_schemas.BatchQuerySchema,
            errors=(errors.PermissionDeniedError, errors.InvalidRequestError)),
        Operation(f"GET {BATCH}", "showBatch",
            "How a batch stands",
            batches_schemas.BatchSchema),
        _batch_change("pause", "Send nothing more of a batch until it is resumed"),
        _batch_change("resume", "Go on with a paused batch"),
        _batch_change("cancel", "End a batch: what was not handed over never will be"),
        Operation(f"GET {BATCH}/results", "listBatchResults",
            "What became of every user: a line {userId, resetId, status, reason} each",
            "application/x-ndjson"),
    ),
    "Organisations": (
        _of_organisation("GET ", "showOrganisation",
            "An organisation's branding, and the versions of its texts",
            response=organisation_schemas.OrganisationSchema),
        _of_organisation("GET /branding", "showBranding",
            "Name, languages, link hosts, colours, help, postal line, logo",
            response=organisation_schemas.BrandingSchema),
        *(_of_organisation(f"{method} /branding", f"{verb}Branding", summary,
            response=organisation_schemas.BrandingSchema,
            request=organisation_schemas.BrandingRequestSchema,
            examples={"colours": {
                "displayName": "Acme", "light": COLOURS, "languages": ["en", "de"],
                "language": "de", "helpUrl": "https://help.acme.example/", "reason": "new colours",
            }})
            for method, verb, summary in (
                ("PUT", "replace", "Replace the branding: what is not given is as it was at first"),
                ("PATCH", "change", "Change the fields that are given; null is the default"))),
        _of_organisation("PUT /branding/logo", "replaceLogo",
            "Replace the logo: the body is a PNG or SVG of at most 100 KB",
            response=organisation_schemas.BrandingSchema,
            files=("image/png", "image/svg+xml"),
            query=organisation_schemas.ReasonQuerySchema),
        _of_organisation("DELETE /branding/logo", "removeLogo",
            "Remove the logo", response=organisation_schemas.BrandingSchema,
            query=organisation_schemas.ReasonQuerySchema,
            errors=(errors.PermissionDeniedError, errors.InvalidRequestError)),
        _of_organisation("GET /texts", "listTexts",
            "The sentences that replace built-in ones, by language",
            response=organisation_schemas.TextsSchema),
        _of_organisation("GET /texts/history", "showTextHistory",
            "The last fifty versions of all texts, the newest first: who, when, why",
            response=organisation_schemas.TextHistorySchema),
        _of_organisation("POST /texts/_rollback", "rollBackTexts",
            "Make an earlier version of a language's texts the newest",
            response=organisation_schemas.TextSchema,
            request=organisation_schemas.RollbackRequestSchema),
        _of_organisation("GET /texts/{language}", "showTexts",
            "The sentences of one language, beside the built-in ones",
            response=organisation_schemas.TextSchema,
            errors=(errors.PermissionDeniedError, errors.ProfileError)),
        _of_organisation("PUT /texts/{language}", "replaceTexts",
            "Replace all own sentences of one language",
            response=organisation_schemas.TextSchema,
            request=organisation_schemas.SentencesRequestSchema),
        _of_organisation("DELETE /texts/{language}", "removeTexts",
            "Go back to the built-in sentences of one language",
            response=organisation_schemas.TextSchema, query=organisation_schemas.ReasonQuerySchema,
            errors=(errors.PermissionDeniedError, errors.InvalidRequestError)),
        Operation(f"GET {ORGANISATION}/preview", "previewMessage",
            "A message with a sample code, as it would go out; as HTML all of them, and the page",
            PreviewSchema, query=PreviewQuerySchema,
            errors=(errors.PermissionDeniedError, errors.InvalidRequestError,
                errors.ProfileError)),
        Operation(f"POST {ORGANISATION}/_send_test", "sendTestMessage",
            "Send a test as the organisation's messages are sent: its look, From and providers",
            SendTestSchema, request=SendTestRequestSchema,
            examples={"e-mail": {"to": "me@acme.example", "reason": "new colours"}},
            errors=(errors.PermissionDeniedError, errors.ProfileError, errors.IdentifierError,
                errors.RecipientSuppressedError, errors.CountryNotAllowedError)),
        _of_organisation("GET /sender", "showSender",
            "How the organisation sends: its From, its own accounts without their secrets",
            response=SenderSchema),
        _of_organisation("PUT /sender", "replaceSender",
            "Replace how the organisation sends; secrets that are left out stay",
            response=SenderSchema, request=SenderRequestSchema,
            examples={"own SendGrid": {
                "email": {"fromAddress": "help@acme.example", "fromName": "Acme",
                    "sendgrid": {"apiKey": "SG.0123456789abcdef"}, "fallback": True},
                "reason": "our own account"}}),
        _of_organisation("DELETE /sender", "removeSender",
            "Send as the installation does; the secrets are forgotten",
            response=SenderSchema, query=organisation_schemas.ReasonQuerySchema,
            errors=(errors.PermissionDeniedError, errors.InvalidRequestError)),
    ),
    "Webhooks": (
        Operation("GET /keyturn/v1/webhooks", "listWebhooks",
            "The organisation's subscriptions, and how far each was delivered",
            api.SubscriptionsSchema),
        Operation("POST /keyturn/v1/webhooks", "addWebhook",
            "Send events to a URL; the answer holds the secret that signs, this once",
            api.SubscriptionAddedSchema,
            request=api.SubscriptionRequestSchema,
            errors=(
                errors.PermissionDeniedError, errors.SubscriberUrlError,
                errors.TooManySubscriptionsError)),
        Operation(f"GET {SUBSCRIPTION}", "showWebhook",
            "One subscription, how it answered lately, and why webhooks do not arrive",
            api.SubscriptionSchema),
        Operation(f"DELETE {SUBSCRIPTION}", "removeWebhook",
            "Remove a subscription and what it was not sent yet",
            api.SubscriptionRemovedSchema),
        Operation(f"GET {SUBSCRIPTION}/dead", "listDeadWebhooks",
            "Events whose delivery was given up, the newest first; at most 100",
            api.DeadWebhooksSchema),
        Operation(f"POST {SUBSCRIPTION}/_replay", "replayWebhooks",
            "Deliver again what was given up",
            api.ReplayedSchema),
        Operation(f"POST {SUBSCRIPTION}/_enable", "enableWebhook",
            "Deliver again to a subscriber that had answered 410",
            api.EnabledSchema),
    ),
    "Health": (
        Operation("GET /livez", "livez",
            "The process answers",
            schemas.AliveSchema, security=(), errors=()),
        Operation("GET /readyz", "readyz",
            "Resets can be accepted, as Redis takes writes; `degraded` without broker or workers",
            schemas.ReadinessSchema, unavailable=schemas.ReadinessSchema, security=(), errors=()),
        Operation("GET /metrics", "metrics",
            "Prometheus text; the same whichever process answers",
            "text/plain", errors=(errors.StoreUnavailableError,), security=()),
    ),
    "Provider callbacks": (
        *(each for path, name, account in (
                ("", "", "our account"), ("/{orgId}", "OfOrganisation", "its own account")
            ) for each in (
            Operation(f"POST /callbacks/sendgrid{path}", f"receiveSendGridEvents{name}",
                f"For SendGrid's Event Webhook: what became of mails of {account}",
                None, request=SendGridEventSchema, is_list=True, status=HTTPStatus.NO_CONTENT,
                security=("sendgridSignature", "sendgridTimestamp"), errors=CALLBACK),
            Operation(f"POST /callbacks/twilio{path}", f"receiveTwilioStatus{name}",
                f"For Twilio's status callback: what became of an SMS of {account}",
                None, request=TwilioStatusSchema, request_type="application/x-www-form-urlencoded",
                query=TwilioQuerySchema, status=HTTPStatus.NO_CONTENT,
                security=("twilioSignature",), errors=CALLBACK),
            Operation(f"POST /callbacks/http{path}", f"receiveGatewayReport{name}",
                f"For an HTTP gateway (Standard Webhooks): what became of a message of {account}",
                None, request=GatewayReportSchema, status=HTTPStatus.NO_CONTENT,
                security=("webhookId", "webhookTimestamp", "webhookSignature"), errors=CALLBACK),
        )),
    ),
}
# fmt: on
