"""What a network is: its sizes, parameters and settings, its forward pass, its cost and its gradient."""
