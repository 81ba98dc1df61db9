"""From a class to a class for every pixel, and to boxes: the trunk stays, the head changes."""
