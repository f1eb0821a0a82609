"""Answer calls: REST, RPC, pages, the command line. It sends no message."""
