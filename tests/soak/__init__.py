"""``make soak MINUTES=30``: live traffic, three members, faults at random from a printed seed, and a rolling ledger."""
