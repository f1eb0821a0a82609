"""What several tests use: builders, fakes, clients, and servers on loopback."""
