"""``run --workers N``: one process for each worker, and the sums of their metrics and statuses."""
