from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Resolution(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MILLISECOND: _ClassVar[Resolution]
    MICROSECOND: _ClassVar[Resolution]

class Clock(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN: _ClassVar[Clock]
    SYNCHRONISED: _ClassVar[Clock]
    UNSYNCHRONISED: _ClassVar[Clock]

class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAUSE_UNKNOWN: _ClassVar[Cause]
    CAUSE_DOWN: _ClassVar[Cause]
    CAUSE_ABSENT: _ClassVar[Cause]
    CAUSE_FAILED: _ClassVar[Cause]

class LossCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOSS_UNKNOWN: _ClassVar[LossCause]
    LOSS_BUDGET: _ClassVar[LossCause]
    LOSS_AGE: _ClassVar[LossCause]
    LOSS_SIZE: _ClassVar[LossCause]
    LOSS_DAMAGED: _ClassVar[LossCause]
    LOSS_DISK: _ClassVar[LossCause]
MILLISECOND: Resolution
MICROSECOND: Resolution
UNKNOWN: Clock
SYNCHRONISED: Clock
UNSYNCHRONISED: Clock
CAUSE_UNKNOWN: Cause
CAUSE_DOWN: Cause
CAUSE_ABSENT: Cause
CAUSE_FAILED: Cause
LOSS_UNKNOWN: LossCause
LOSS_BUDGET: LossCause
LOSS_AGE: LossCause
LOSS_SIZE: LossCause
LOSS_DAMAGED: LossCause
LOSS_DISK: LossCause

class Message(_message.Message):
    __slots__ = ("major", "minor", "dictionary", "dictionary_zstd", "boot", "first", "span", "resolution", "clock", "synchronised", "unsynchronised", "unknown", "campaign", "campaign_version", "group", "count", "id", "missing", "columns", "columns_zstd", "quality", "quality_run", "gap", "loss", "outbox", "sequence", "check")
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    DICTIONARY_FIELD_NUMBER: _ClassVar[int]
    DICTIONARY_ZSTD_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    SYNCHRONISED_FIELD_NUMBER: _ClassVar[int]
    UNSYNCHRONISED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_VERSION_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_ZSTD_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    QUALITY_RUN_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    major: int
    minor: int
    dictionary: bytes
    dictionary_zstd: bytes
    boot: int
    first: int
    span: int
    resolution: Resolution
    clock: Clock
    synchronised: int
    unsynchronised: int
    unknown: int
    campaign: str
    campaign_version: int
    group: _containers.RepeatedScalarFieldContainer[int]
    count: _containers.RepeatedScalarFieldContainer[int]
    id: _containers.RepeatedScalarFieldContainer[int]
    missing: _containers.RepeatedScalarFieldContainer[int]
    columns: bytes
    columns_zstd: bytes
    quality: bytes
    quality_run: _containers.RepeatedScalarFieldContainer[int]
    gap: _containers.RepeatedCompositeFieldContainer[Gap]
    loss: _containers.RepeatedCompositeFieldContainer[Loss]
    outbox: int
    sequence: int
    check: int
    def __init__(self, major: _Optional[int] = ..., minor: _Optional[int] = ..., dictionary: _Optional[bytes] = ..., dictionary_zstd: _Optional[bytes] = ..., boot: _Optional[int] = ..., first: _Optional[int] = ..., span: _Optional[int] = ..., resolution: _Optional[_Union[Resolution, str]] = ..., clock: _Optional[_Union[Clock, str]] = ..., synchronised: _Optional[int] = ..., unsynchronised: _Optional[int] = ..., unknown: _Optional[int] = ..., campaign: _Optional[str] = ..., campaign_version: _Optional[int] = ..., group: _Optional[_Iterable[int]] = ..., count: _Optional[_Iterable[int]] = ..., id: _Optional[_Iterable[int]] = ..., missing: _Optional[_Iterable[int]] = ..., columns: _Optional[bytes] = ..., columns_zstd: _Optional[bytes] = ..., quality: _Optional[bytes] = ..., quality_run: _Optional[_Iterable[int]] = ..., gap: _Optional[_Iterable[_Union[Gap, _Mapping]]] = ..., loss: _Optional[_Iterable[_Union[Loss, _Mapping]]] = ..., outbox: _Optional[int] = ..., sequence: _Optional[int] = ..., check: _Optional[int] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("bus", "cause", "start", "length")
    BUS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    bus: str
    cause: Cause
    start: int
    length: int
    def __init__(self, bus: _Optional[str] = ..., cause: _Optional[_Union[Cause, str]] = ..., start: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class Loss(_message.Message):
    __slots__ = ("cause", "campaign", "boot", "first", "span", "clock", "synchronised", "unsynchronised", "unknown", "batches", "samples")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    SYNCHRONISED_FIELD_NUMBER: _ClassVar[int]
    UNSYNCHRONISED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    cause: LossCause
    campaign: str
    boot: int
    first: int
    span: int
    clock: Clock
    synchronised: int
    unsynchronised: int
    unknown: int
    batches: int
    samples: int
    def __init__(self, cause: _Optional[_Union[LossCause, str]] = ..., campaign: _Optional[str] = ..., boot: _Optional[int] = ..., first: _Optional[int] = ..., span: _Optional[int] = ..., clock: _Optional[_Union[Clock, str]] = ..., synchronised: _Optional[int] = ..., unsynchronised: _Optional[int] = ..., unknown: _Optional[int] = ..., batches: _Optional[int] = ..., samples: _Optional[int] = ...) -> None: ...

class Dictionary(_message.Message):
    __slots__ = ("vehicle", "catalogue", "group")
    VEHICLE_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    vehicle: bytes
    catalogue: bytes
    group: _containers.RepeatedCompositeFieldContainer[Group]
    def __init__(self, vehicle: _Optional[bytes] = ..., catalogue: _Optional[bytes] = ..., group: _Optional[_Iterable[_Union[Group, _Mapping]]] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("bus", "message", "id", "by_pgn", "branch", "interval", "signal", "quality")
    BUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    BY_PGN_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    bus: str
    message: str
    id: int
    by_pgn: bool
    branch: _containers.RepeatedCompositeFieldContainer[Branch]
    interval: int
    signal: _containers.RepeatedCompositeFieldContainer[Signal]
    quality: bool
    def __init__(self, bus: _Optional[str] = ..., message: _Optional[str] = ..., id: _Optional[int] = ..., by_pgn: _Optional[bool] = ..., branch: _Optional[_Iterable[_Union[Branch, _Mapping]]] = ..., interval: _Optional[int] = ..., signal: _Optional[_Iterable[_Union[Signal, _Mapping]]] = ..., quality: _Optional[bool] = ...) -> None: ...

class Branch(_message.Message):
    __slots__ = ("selector", "value")
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    selector: str
    value: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, selector: _Optional[str] = ..., value: _Optional[_Iterable[int]] = ...) -> None: ...

class Signal(_message.Message):
    __slots__ = ("name", "unit", "kind", "factor", "offset", "choice")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    name: str
    unit: str
    kind: int
    factor: Number
    offset: Number
    choice: _containers.RepeatedCompositeFieldContainer[Choice]
    def __init__(self, name: _Optional[str] = ..., unit: _Optional[str] = ..., kind: _Optional[int] = ..., factor: _Optional[_Union[Number, _Mapping]] = ..., offset: _Optional[_Union[Number, _Mapping]] = ..., choice: _Optional[_Iterable[_Union[Choice, _Mapping]]] = ...) -> None: ...

class Number(_message.Message):
    __slots__ = ("integer", "real", "decimal")
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    REAL_FIELD_NUMBER: _ClassVar[int]
    DECIMAL_FIELD_NUMBER: _ClassVar[int]
    integer: int
    real: float
    decimal: str
    def __init__(self, integer: _Optional[int] = ..., real: _Optional[float] = ..., decimal: _Optional[str] = ...) -> None: ...

class Choice(_message.Message):
    __slots__ = ("value", "text")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    value: Number
    text: str
    def __init__(self, value: _Optional[_Union[Number, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...
