"""Commands about what an organisation owns: look, texts, senders, messages."""
