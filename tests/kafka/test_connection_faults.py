"""The client's errors about connections, translated for people."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from stream_capi.kafka.connection_faults import fault_of

NO_LOGIN = "it doesn't accept a login; "
NO_TLS = (
    "it doesn't use TLS; "
    'set kafka.properties."security.protocol" to plaintext or sasl_plaintext, or use the port that uses TLS'
)
TAKE_ANOTHER = 'set kafka.properties."security.protocol" to plaintext or ssl, or use the port that asks for a login'


@pytest.mark.parametrize(
    ("code", "text", "told"),
    [
        (
            KafkaError._TRANSPORT,
            "127.0.0.1:9093/bootstrap: Receive failed: Invalid response size 352518912 (0..100000000): increase "
            "receive.message.max.bytes (after 2ms in state APIVERSION_QUERY)",
            "what answers is not Kafka without TLS (but TLS or HTTP, for example); correct the address, or set "
            'kafka.properties."security.protocol" to ssl or sasl_ssl',
        ),
        (
            KafkaError._AUTHENTICATION,
            "sasl_plaintext://127.0.0.1:9092/bootstrap: Failed to initialize SASL authentication: SASL Handshake not "
            "supported by broker (required by mechanism PLAIN) (after 2ms in state APIVERSION_QUERY)",
            NO_LOGIN + TAKE_ANOTHER,
        ),
        (
            KafkaError._AUTHENTICATION,
            "sasl_plaintext://127.0.0.1:9092/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Request not valid "
            "in current SASL state: broker's supported mechanisms:  (after 2ms in state AUTH_HANDSHAKE)",
            NO_LOGIN + TAKE_ANOTHER,
        ),
        (
            KafkaError._TRANSPORT,
            "ssl://127.0.0.1:9092/bootstrap: SSL handshake failed: Disconnected: connection reset by peer: connecting to "
            "a PLAINTEXT broker listener? (after 3ms in state SSL_HANDSHAKE)",
            NO_TLS,
        ),
        (
            KafkaError._TRANSPORT,
            "ssl://127.0.0.1:9092/bootstrap: Disconnected: SSL connection closed by peer (after 8ms in state SSL_HANDSHAKE)",
            NO_TLS,
        ),
        (
            KafkaError._TRANSPORT,
            "sasl_ssl://127.0.0.1:9092/1: Disconnected: connection reset by peer (after 8ms in state SSL_HANDSHAKE, 2 "
            "identical error(s) suppressed)",
            NO_TLS,
        ),
        (
            KafkaError._TRANSPORT,
            "ssl://127.0.0.1:9092/bootstrap: Disconnected: during SSL connection handshake (after 0ms in state "
            "SSL_HANDSHAKE)",
            NO_TLS,
        ),
        (
            KafkaError._TRANSPORT,
            "ssl://127.0.0.1:9093/1: Disconnected: SSL connection closed by peer (after 9000ms in state UP)",
            "Disconnected: SSL connection closed by peer; check the address and security.protocol",
        ),
    ],
)
def test_a_listener_of_another_protocol_is_named_with_what_to_do(code: int, text: str, told: str) -> None:
    fault = fault_of(KafkaError(code, text))
    assert fault is not None
    assert f"{fault.what}; {fault.do}" == told
