"""For trying things out: samples, a stand-in for the API, an embedded broker. Only commands import it."""
