"""The endpoint's side: the client against servers of every kind, the document, and the stand-in."""
