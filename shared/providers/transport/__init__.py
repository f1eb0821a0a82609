"""How a message reaches a provider: sockets with deadlines, HTTP, an SMTP session."""
