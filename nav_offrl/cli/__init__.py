"""The nav-offrl command; every verb is one module."""
