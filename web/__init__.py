"""The faces: REST, the pages, the command line. Thin; sends nothing."""

from web.app import create_app

__all__ = ["create_app"]
