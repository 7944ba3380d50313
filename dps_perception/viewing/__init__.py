"""For people to look at what the node does: from messages to a viewer."""
