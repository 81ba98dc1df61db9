"""The frame of the lesson: what a section consists of, how it is kept, told and drawn."""
