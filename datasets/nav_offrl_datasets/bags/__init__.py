"""What the importer of ROS bags is made of: files, topics by recipe, messages."""
