"""Between granian and the WSGI application."""
