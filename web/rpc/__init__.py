"""The RPC faces: native gRPC in a process of its own; gRPC-Web and Connect beside Flask."""
