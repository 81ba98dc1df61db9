"""Local connectivity and weight sharing, separately, with positions in order and shuffled."""
