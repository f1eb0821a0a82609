"""/openapi.json and /docs: the API, described from the marshmallow schemas by apispec."""
