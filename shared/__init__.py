"""What both sides use: models, store, providers, queue, settings."""
