"""Records that the client for Python refuses, such as any bytes in a header's name, produced through its C library."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import cimpl

# The library that the extension has loaded: a second copy of it would have a state of its own.
_LIBRARY = ctypes.CDLL(cimpl.__file__)
_COPY = 2
_TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _TIMESTAMP, _HEADERS = 1, 3, 4, 5, 7, 8, 10


class _Memory(ctypes.Structure):
    _fields_ = (("pointer", ctypes.c_char_p), ("size", ctypes.c_size_t))


class _Value(ctypes.Union):
    _fields_ = (
        ("text", ctypes.c_char_p),
        ("i32", ctypes.c_int32),
        ("i64", ctypes.c_int64),
        ("memory", _Memory),
        ("pointer", ctypes.c_void_p),
        ("_room", ctypes.c_char * 64),
    )


class _Argument(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("value", _Value))


def _function(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(_LIBRARY, name)
    function.restype, function.argtypes = result, arguments
    return function


_pointer, _text, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
_conf_new = _function("rd_kafka_conf_new", _pointer)
_conf_set = _function("rd_kafka_conf_set", ctypes.c_int, _pointer, _text, _text, _text, _size)
_new = _function("rd_kafka_new", _pointer, ctypes.c_int, _pointer, _text, _size)
_destroy = _function("rd_kafka_destroy", None, _pointer)
_flush = _function("rd_kafka_flush", ctypes.c_int, _pointer, ctypes.c_int)
_headers_new = _function("rd_kafka_headers_new", _pointer, _size)
_header_add = _function("rd_kafka_header_add", ctypes.c_int, _pointer, _text, ctypes.c_ssize_t, _text, ctypes.c_ssize_t)
_produce = _function("rd_kafka_produceva", _pointer, _pointer, ctypes.POINTER(_Argument), _size)
_error_text = _function("rd_kafka_error_string", _text, _pointer)


class Raw(NamedTuple):
    """A record of bytes. ``timestamp`` 0 is the time of producing."""

    value: bytes | None = b"value"
    key: bytes | None = None
    headers: Sequence[tuple[bytes, bytes | None]] = ()
    timestamp: int = 0
    partition: int = 0


class RawProducer:
    """Produces ``Raw`` records; all of them are acknowledged when the context ends."""

    def __init__(self, bootstrap: str) -> None:
        conf, why = _conf_new(), ctypes.create_string_buffer(512)
        settings = {"bootstrap.servers": bootstrap, "message.max.bytes": "20000000", "log_level": "0"}
        for name, value in settings.items():
            assert _conf_set(conf, name.encode(), value.encode(), why, 512) == 0, why.value
        self._client = _new(0, conf, why, 512)
        assert self._client, why.value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        left = _flush(self._client, 30_000)
        _destroy(self._client)
        assert left == 0 or error, "not all records were acknowledged within 30 s"

    def put(self, topic: str, *records: Raw) -> None:
        """Queue the records."""
        for record in records:
            arguments = list(_arguments(topic, record))
            error = _produce(self._client, (_Argument * len(arguments))(*arguments), len(arguments))
            assert not error, _error_text(error)


def _arguments(topic: str, record: Raw) -> list[_Argument]:
    headers = _headers_new(len(record.headers))
    for name, value in record.headers:
        assert _header_add(headers, name, len(name), value, -1 if value is None else len(value)) == 0
    arguments = [
        _Argument(_TOPIC, _Value(text=topic.encode())),
        _Argument(_PARTITION, _Value(i32=record.partition)),
        _Argument(_FLAGS, _Value(i32=_COPY)),
        _Argument(_HEADERS, _Value(pointer=headers)),
    ]
    for kind, content in ((_VALUE, record.value), (_KEY, record.key)):
        if content is not None:
            arguments.append(_Argument(kind, _Value(memory=_Memory(content, len(content)))))
    if record.timestamp:
        arguments.append(_Argument(_TIMESTAMP, _Value(i64=record.timestamp)))
    return arguments


def produce_raw(bootstrap: str, topic: str, *records: Raw) -> None:
    """Produce the records and wait until the broker has them."""
    with RawProducer(bootstrap) as producer:
        producer.put(topic, *records)
