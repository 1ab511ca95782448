raise ImportError("left out of a guest's first boot")
