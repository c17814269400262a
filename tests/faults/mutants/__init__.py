"""Mutants: programs that each break one promise. They run in place of the real one, and the ledger must detect each."""
