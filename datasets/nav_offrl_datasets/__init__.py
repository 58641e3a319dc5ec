"""Importers of navigation logs, one file a format."""
