"""Everything that can go wrong, as one tree; web/problems.py alone turns it into answers.

SettingsError                      stands outside, so that no handler swallows it
KeyturnError
├── CallerError                    a caller sees it: `id` is the public name, never renamed
│   ├── InvalidRequestError        the request cannot be understood
│   │   ├── BodyTooLargeError · SelectionError
│   │   │   └── CallbackTooLargeError
│   │   ├── UrlTemplateError · UrlTemplateFieldError · UrlNotAllowedError · SubscriberUrlError
│   │   ├── PasswordMissingError · PasswordPolicyError · PasswordTooLongError · CodeMismatchError
│   │   ├── PasswordMismatchError
│   ├── UnauthenticatedError
│   │   └── AuthHeaderMissingError · AuthHeaderInvalidError · TokenInvalidError
│   ├── OrganisationUnknownError · MembershipMissingError · PermissionDeniedError
│   ├── NotFoundError · MethodNotAllowedError · CallbackRefusedError
│   ├── UserUnknownError · UserNotInitialisedError · MachineUserError · UserInactiveError
│   ├── UserHiddenError · ResetUserNotInitialisedError · UserPermissionError        (v2)
│   ├── PasswordUserUnknownError · PasswordUserNotInitialisedError                  (SetPassword)
│   ├── RecipientMissingError · CountryNotAllowedError · RecipientSuppressedError
│   ├── CodeUnusableError · CodeExpiredError · IdempotencyMismatchError
│   ├── ResetStateError · BatchStateError · TooManySubscriptionsError
│   ├── TooManyRequestsError       carries retry_after_seconds
│   ├── ProviderMissingError · StoreUnavailableError · DirectoryUnavailableError
│   └── IssuerUnavailableError
├── BrokerAwayError                hints cannot be counted; ours to handle
├── ProviderError                  a provider did not take a message; ours to handle
│   ├── TransientProviderError     surely not taken, try again: retry_after_seconds
│   │   ├── AccountProviderError   our account's trouble
│   │   └── RefusedTogetherError   it stood in one request with a message that was refused
│   ├── PermanentProviderError     surely not taken, never will be
│   │   └── UnsendableError        no provider was asked: the message itself cannot be sent
│   └── DoubtfulProviderError      may have been taken
├── ImportLineError                a line of a file of users cannot be taken; carries line_number
├── UnknownKeyError                the record names a signing key the settings no longer hold
└── RenderError                    a template lacks a value
"""

from shared.errors.callers import (
    AuthHeaderInvalidError,
    AuthHeaderMissingError,
    CallbackRefusedError,
    CallerError,
    CodeExpiredError,
    CodeUnusableError,
    CountryNotAllowedError,
    DirectoryUnavailableError,
    IdempotencyMismatchError,
    IssuerUnavailableError,
    MachineUserError,
    MembershipMissingError,
    MethodNotAllowedError,
    NotFoundError,
    OrganisationUnknownError,
    PasswordUserNotInitialisedError,
    PasswordUserUnknownError,
    PermissionDeniedError,
    ProviderMissingError,
    RecipientMissingError,
    RecipientSuppressedError,
    ResetUserNotInitialisedError,
    StoreUnavailableError,
    TokenInvalidError,
    TooManyRequestsError,
    TooManySubscriptionsError,
    UnauthenticatedError,
    UserHiddenError,
    UserInactiveError,
    UserNotInitialisedError,
    UserPermissionError,
    UserUnknownError,
)
from shared.errors.requests import (
    BatchStateError,
    BodyTooLargeError,
    CallbackTooLargeError,
    CodeMismatchError,
    InvalidRequestError,
    PasswordMismatchError,
    PasswordMissingError,
    PasswordPolicyError,
    PasswordTooLongError,
    ResetStateError,
    SelectionError,
    SubscriberUrlError,
    UrlNotAllowedError,
    UrlTemplateError,
    UrlTemplateFieldError,
)
from shared.errors.roots import KeyturnError, SettingsError
from shared.errors.sending import (
    AccountProviderError,
    BrokerAwayError,
    DoubtfulProviderError,
    ImportLineError,
    PermanentProviderError,
    ProviderError,
    RefusedTogetherError,
    RenderError,
    TransientProviderError,
    UnknownKeyError,
    UnsendableError,
)

__all__ = [
    "AccountProviderError",
    "AuthHeaderInvalidError",
    "AuthHeaderMissingError",
    "BatchStateError",
    "BodyTooLargeError",
    "BrokerAwayError",
    "CallbackRefusedError",
    "CallbackTooLargeError",
    "CallerError",
    "CodeExpiredError",
    "CodeMismatchError",
    "CodeUnusableError",
    "CountryNotAllowedError",
    "DirectoryUnavailableError",
    "DoubtfulProviderError",
    "IdempotencyMismatchError",
    "ImportLineError",
    "InvalidRequestError",
    "IssuerUnavailableError",
    "KeyturnError",
    "MachineUserError",
    "MembershipMissingError",
    "MethodNotAllowedError",
    "NotFoundError",
    "OrganisationUnknownError",
    "PasswordMismatchError",
    "PasswordMissingError",
    "PasswordPolicyError",
    "PasswordTooLongError",
    "PasswordUserNotInitialisedError",
    "PasswordUserUnknownError",
    "PermanentProviderError",
    "PermissionDeniedError",
    "ProviderError",
    "ProviderMissingError",
    "RecipientMissingError",
    "RecipientSuppressedError",
    "RefusedTogetherError",
    "RenderError",
    "ResetStateError",
    "ResetUserNotInitialisedError",
    "SelectionError",
    "SettingsError",
    "StoreUnavailableError",
    "SubscriberUrlError",
    "TokenInvalidError",
    "TooManyRequestsError",
    "TooManySubscriptionsError",
    "TransientProviderError",
    "UnauthenticatedError",
    "UnknownKeyError",
    "UnsendableError",
    "UrlNotAllowedError",
    "UrlTemplateError",
    "UrlTemplateFieldError",
    "UserHiddenError",
    "UserInactiveError",
    "UserNotInitialisedError",
    "UserPermissionError",
    "UserUnknownError",
]
