"""Strength and cost against the peers, measured side by side: python -m bench NAME."""
