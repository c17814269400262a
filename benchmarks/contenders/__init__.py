"""The programs that are measured, one file each; ``python -m benchmarks.contenders.NAME`` runs one until it is stopped."""
