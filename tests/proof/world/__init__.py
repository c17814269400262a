"""A group of members with a broker, an endpoint, a registry and a dead-letter topic in memory, in simulated time.

Real are the pipeline with everything below it, and the commits' ownership check (``kafka.commits``). All that they talk to
is simulated, and checks the promises at each call. ``World`` is the interface; everything that happens follows from its seed
and from the calls of its methods, in their order.
"""

from tests.proof.world.world import World

__all__ = ["World"]
