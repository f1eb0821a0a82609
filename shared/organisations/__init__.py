"""What an organisation owns: its branding and its texts, and the checks of both."""
