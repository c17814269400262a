"""Have the embedded broker answer with errors. Only the client's C library has the functions for that."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from confluent_kafka import Producer, cimpl

OFFSET_FETCH, FIND_COORDINATOR = 9, 10  # API keys of the Kafka protocol

_LIBRARY = ctypes.CDLL(cimpl.__file__)
_LIBRARY.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
_LIBRARY.rd_kafka_handle_mock_cluster.argtypes = [ctypes.c_void_p]
_LIBRARY.rd_kafka_mock_push_request_errors_array.restype = None
_LIBRARY.rd_kafka_mock_push_request_errors_array.argtypes = [
    ctypes.c_void_p,
    ctypes.c_int16,
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_int),
]


def answer_with(holder: Producer, api_key: int, errors: Sequence[int]) -> None:
    """Have the mock cluster of ``holder`` answer the next requests with this API key with these errors, one each."""
    client = ctypes.c_void_p.from_address(id(holder) + object.__basicsize__).value
    array = (ctypes.c_int * len(errors))(*errors)
    _LIBRARY.rd_kafka_mock_push_request_errors_array(
        _LIBRARY.rd_kafka_handle_mock_cluster(client), api_key, len(errors), array
    )
