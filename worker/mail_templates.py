"""The templates of mails, compiled once per process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    select_autoescape,
)

from shared.errors import RenderError

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """The three templates of one mail."""

    subject: Template
    text: Template
    html: Template


def make_environment(templates: Path) -> Environment:
    """Where templates are kept once they are compiled; `templates` is the folder with the files."""
    return Environment(
        loader=FileSystemLoader(templates),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def load_mail(environment: Environment, name: str) -> MailTemplate:
    """The mail of this name."""
    parts = ("subject.txt", "txt", "html")
    return MailTemplate(*(environment.get_template(f"{name}.{part}") for part in parts))


def fill(template: Template, facts: dict[str, object]) -> str:
    """A template with its values.

    Raises:
        RenderError: it asks for a value or a sentence that is not there.
    """
    try:
        return template.render(facts)
    except TemplateError as error:
        raise RenderError(f"{template.name}: {error.message}") from error
