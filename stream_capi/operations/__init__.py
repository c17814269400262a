"""What an operator does: look, replay, reset, redrive. The commands print what these return."""
