"""From decoded records to ServerEvents: mapping, normalising, hashing, validating (contract, sections 4 and 5). Pure."""
