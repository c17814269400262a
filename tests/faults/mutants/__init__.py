"""Programs with one promise broken each, run in the real one's place: the ledger must find each of them out."""
