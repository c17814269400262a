"""Memory and time as the work grows: partitions, sources, pixels, lag, and hours of running (``make bench-growth``)."""
