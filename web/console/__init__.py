"""The operator's console at /console: importing a module of pages adds its routes."""

from web.console import (
    audit,
    batches,
    messages,
    now,
    oidc,
    providers,
    resets,
    sign_in,
    suppressions,
    webhooks,
)
from web.console.frame import console

__all__ = [
    "audit",
    "batches",
    "console",
    "messages",
    "now",
    "oidc",
    "providers",
    "resets",
    "sign_in",
    "suppressions",
    "webhooks",
]
