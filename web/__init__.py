"""The faces: REST, the pages, the command line. Thin; sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from web.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    """`create_app`, loaded when it is asked for: commands do without Flask and all routes."""
    if name == "create_app":
        from web.app import create_app  # noqa: PLC0415

        return create_app
    raise AttributeError(name)
