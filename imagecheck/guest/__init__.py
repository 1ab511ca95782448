"""A running guest as its own processes, its console and its config drive show it."""
