"""The pure core: offsets, batches, outcomes and flow control, without await, clock, randomness, logging, locks or I/O."""
