"""Turns decoded records into ServerEvents: mapping, normalising, hashing, validating (contract, sections 4, 5). No I/O."""
