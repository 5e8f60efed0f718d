"""EM as remote work: a task for a batch, actors that hold the rows of a whole data set."""
