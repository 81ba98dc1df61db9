"""The section `one_window` as a command."""

from experiments.concepts.frame import command

if __name__ == "__main__":
    command.launch("one_window")
