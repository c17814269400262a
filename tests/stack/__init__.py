"""The servers that the program talks to, as tests use them: a real Kafka broker or cluster, and a real schema registry.

Neither needs a container, a Java installation or Maven: the Java runtime and the resolver of the Java artefacts are
Python packages, and every artefact is checked against ``artefacts.sha256`` before it runs.
"""

from __future__ import annotations

from tests.stack.asking import Kafka
from tests.stack.cluster import Cluster
from tests.stack.kafka import Broker
from tests.stack.produce import Produced, produce_events
from tests.stack.proxy import Proxy
from tests.stack.registry import Registry
from tests.stack.secured import SecuredBroker

__all__ = ["Broker", "Cluster", "Kafka", "Produced", "Proxy", "Registry", "SecuredBroker", "produce_events"]
