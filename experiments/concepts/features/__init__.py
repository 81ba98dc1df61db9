"""Looking inside: filters, maps, the patches that excite them, and where a decision comes from."""
