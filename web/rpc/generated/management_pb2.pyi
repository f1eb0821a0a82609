from web.rpc.generated import zitadel_pb2 as _zitadel_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SendHumanResetPasswordNotificationRequest(_message.Message):
    __slots__ = ("user_id", "type")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_EMAIL: _ClassVar[SendHumanResetPasswordNotificationRequest.Type]
        TYPE_SMS: _ClassVar[SendHumanResetPasswordNotificationRequest.Type]
    TYPE_EMAIL: SendHumanResetPasswordNotificationRequest.Type
    TYPE_SMS: SendHumanResetPasswordNotificationRequest.Type
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    type: SendHumanResetPasswordNotificationRequest.Type
    def __init__(self, user_id: _Optional[str] = ..., type: _Optional[_Union[SendHumanResetPasswordNotificationRequest.Type, str]] = ...) -> None: ...

class SendHumanResetPasswordNotificationResponse(_message.Message):
    __slots__ = ("details",)
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    details: _zitadel_pb2.ObjectDetails
    def __init__(self, details: _Optional[_Union[_zitadel_pb2.ObjectDetails, _Mapping]] = ...) -> None: ...
