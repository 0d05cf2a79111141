"""A complete search for networks with one layer of ReLUs."""
