"""Messages for people: their templates, rendered in a language."""
