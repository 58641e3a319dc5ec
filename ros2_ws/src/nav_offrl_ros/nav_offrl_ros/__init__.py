"""ROS 2 nodes: ROS in, nav_offrl.runtime, ROS out. No algorithm lives here."""
