"""Other tools' logs in, as practice; certificates out, in other schemas."""
