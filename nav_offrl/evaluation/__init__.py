"""Held-out evaluation on logs and rollouts in a simulator, with figures."""
