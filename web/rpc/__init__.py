"""RPC: native gRPC in a process of its own; gRPC-Web and Connect on the port of REST."""
