"""The pure core: offsets, batches, outcomes and flow, without await, clock, randomness, logging, locks or I/O."""
