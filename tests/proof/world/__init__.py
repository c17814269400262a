"""A group of members over a broker, an endpoint, a registry and a dead-letter topic in memory, in jumping time.

What is real: the pipeline with everything below it, and the commits' ownership check (``kafka.commits``). What is made up
is all that they talk to, and it checks the promises while it is talked to. ``World`` is the door; everything that happens
in it follows from its seed and from the calls made on it, in their order.
"""

from tests.proof.world.world import World

__all__ = ["World"]
