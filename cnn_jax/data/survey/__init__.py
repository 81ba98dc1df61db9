"""What a data set holds, before training: counted without decoding it, and judged."""
