"""What is saved about a failure, and from where: the folder of one node, the cloud's side, a guest's stopped disk."""
