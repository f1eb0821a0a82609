"""The operator's console at /console: importing a module of pages adds its routes."""

from web.console import batches, now, oidc, providers, resets, sign_in
from web.console.frame import console

__all__ = ["batches", "console", "now", "oidc", "providers", "resets", "sign_in"]
