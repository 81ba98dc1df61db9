"""The page to touch: a network of one's own, running in the browser. See `__main__`."""
