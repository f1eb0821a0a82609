"""The side that takes calls: REST, RPC, pages, command line; it sends no message."""
