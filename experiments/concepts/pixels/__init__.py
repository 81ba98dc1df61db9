"""An image is numbers: how many, how neighbours agree, and what a shift by one pixel does."""
