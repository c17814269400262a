"""From records to outcomes, and to what may be committed."""
