"""The operator's console at /console: importing a module of pages adds its routes."""

from web.console import now, providers, sign_in
from web.console.frame import console

__all__ = ["console", "now", "providers", "sign_in"]
