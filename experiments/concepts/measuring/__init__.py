"""What several sections measure with: the two small sets, training to a loss, deep chains."""
