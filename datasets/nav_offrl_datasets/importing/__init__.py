"""What happens to a log of any format: from runs as they were read to episodes of a store."""
