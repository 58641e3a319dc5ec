"""LeRobot data sets, both directions: what the importer reads with, and the writer."""
