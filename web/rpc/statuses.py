"""A problem as google.rpc.Status, from the JSON that REST tells; gRPC and gRPC-Web carry it."""

from __future__ import annotations

from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2, status_pb2

from web.problems import Problem
from web.rpc import zitadel_pb2

# What stands in `details`: protobuf's JSON finds a message by its name once it is imported.
DETAILS = (zitadel_pb2.ErrorDetail, error_details_pb2.RetryInfo)


def read_status(problem: Problem) -> status_pb2.Status:
    """The google.rpc.Status of a problem."""
    return ParseDict(problem.as_json(), status_pb2.Status())


def write_status_details(problem: Problem) -> bytes | None:
    """The value of `grpc-status-details-bin`; None where there are no details."""
    status = read_status(problem)
    details: bytes = status.SerializeToString()
    return details if status.details else None
