"""Memory and time as the work grows: partitions, sources, pixels, lag, and a day's hours (``make bench-growth``)."""
