"""The section `dense_tasks` as a command."""

from experiments.concepts.frame import command

if __name__ == "__main__":
    command.launch("dense_tasks")
