"""``make soak MINUTES=30``: live traffic, three members, random faults from a printed seed, and a running ledger."""
