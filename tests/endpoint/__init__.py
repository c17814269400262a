"""Tests of the endpoint's client against servers of every kind, and of the mock endpoint."""
